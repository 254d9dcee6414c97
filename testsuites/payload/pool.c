/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "pool.h"


/* One more buffer of the queue that the first one's exporter has. */
static struct buffer one_more(struct buffer *first)
{
	struct buffer buffer = { .address = "", .device = -1, .size = first->size };

	buffer.queue.fd = -1;
	buffer.fd = v4l2_export(&first->queue, v4l2_create(&first->queue, 1));
	return buffer;
}

struct pool pool_open(const char *exporter, unsigned int count, size_t size)
{
	struct pool pool = { .count = count };

	if (!count || count > POOL_MAX)
		broken("a pool has 1 to %u buffers, not %u", POOL_MAX, count);
	for (unsigned int i = 0; i < count; i++) {
		struct buffer *buffer = &pool.buffer[i];

		*buffer = i && pool.buffer[0].queue.fd >= 0 ? one_more(pool.buffer) :
							     buffer_open(exporter, size);
		if (buffer->size < size)
			broken("%s makes buffers of %zu bytes, %zu are needed", exporter,
			       buffer->size, size);
		pool.fd[i] = buffer->fd;
	}
	pool.size = pool.buffer[0].size;
	return pool;
}

void pool_close(struct pool *pool)
{
	for (unsigned int i = pool->count; i-- > 0;)
		buffer_close(&pool->buffer[i]);
	pool->count = 0;
}

void pool_replace(struct pool *pool, uint32_t index, const char *exporter)
{
	buffer_close(&pool->buffer[index]);
	pool->buffer[index] = buffer_open(exporter, pool->size);
	pool->fd[index] = pool->buffer[index].fd;
}
