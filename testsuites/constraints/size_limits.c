/* SPDX-License-Identifier: MIT */
#include "farm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMETERS "/sys/module/udmabuf/parameters/"
#define MIB ((size_t)1 << 20)
/* size_limit_mb is 64 up to Linux 7.2, and then INT_MAX: as good as none (drivers/dma-buf/udmabuf.c). */
#define DEFAULT_MB 64u
#define REACHABLE_MB 256u

/* A module parameter's number; 0 where the kernel has no such parameter. */
static unsigned long parameter(const char *name)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return read_file_raw(path, text, sizeof(text)) > 0 ? strtoul(text, NULL, 10) : 0;
}

static void set_parameter(const char *name, unsigned long value)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	snprintf(text, sizeof(text), "%lu", value);
	write_file(path, text);
}

/* The errno of making a udmabuf of that size, or 0. */
static int size_try(int memory, size_t size)
{
	int fd = udmabuf_from_memfd_raw(memory, 0, size);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? -fd : 0;
}

static void size_came_to(int seen, size_t size, int err, const char *what)
{
	check(seen == err, "%s, %zu bytes: %s, expected %s", what, size, errname(seen),
	      errname(err));
}

static void size_is(int memory, size_t size, int err, const char *what)
{
	size_came_to(size_try(memory, size), size, err, what);
}

static void entries_are(int memory, size_t entries, int err, const char *what)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *offsets = calloc(entries, sizeof(*offsets));
	int fd;

	if (!offsets)
		broken("no memory for %zu entries", entries);
	for (size_t i = 0; i < entries; i++)
		offsets[i] = i * page;
	fd = udmabuf_from_list_raw(memory, offsets, entries, page);
	if (fd >= 0)
		close(fd);
	check((fd < 0 ? -fd : 0) == err, "%s, %zu entries: %s, expected %s", what, entries,
	      errname(fd < 0 ? fd : 0), errname(err));
	free(offsets);
}

CASE(udmabuf_limits, "udmabuf takes what its limits allow, and refuses a page more",
     .timeout_ms = 30000)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned long megabytes = parameter("size_limit_mb"), entries = parameter("list_limit");
	size_t most = megabytes <= REACHABLE_MB ? megabytes * MIB : 0;
	int memory, within, beyond;

	info("size_limit_mb", "%lu", megabytes);
	info("list_limit", "%lu", entries);
	memory = memfd((most ? most : DEFAULT_MB * MIB) + page, F_SEAL_SHRINK);
	if (most) {
		size_is(memory, most, 0, "as large as the limit");
		size_is(memory, most + page, EINVAL, "a page over the limit");
	} else {
		size_is(memory, DEFAULT_MB * MIB + page, 0, "a page over what was the limit");
	}
	/*
	 * The limit is root's to set, while the system runs. It is everybody's, so it is set back before
	 * anything is judged.
	 */
	set_parameter("size_limit_mb", 1);
	within = size_try(memory, MIB);
	beyond = size_try(memory, MIB + page);
	set_parameter("size_limit_mb", megabytes);
	size_came_to(within, MIB, 0, "as large as the limit of 1 MiB");
	size_came_to(beyond, MIB + page, EINVAL, "a page over the limit of 1 MiB");
	size_is(memory, 2 * MIB, 0, "within the limit, set as it was");
	if (entries) {
		entries_are(memory, entries, 0, "as many as the limit");
		entries_are(memory, entries + 1, EINVAL, "one over the limit");
	}
	size_is(memory, 0, EINVAL, "nothing");
	size_is(memory, page / 2, EINVAL, "half a page");
	close(memory);

	/* The memory must stay: it may neither shrink nor turn read-only under the device. */
	memory = memfd(page, 0);
	size_is(memory, page, EINVAL, "without F_SEAL_SHRINK");
	close(memory);
	memory = memfd(page, F_SEAL_SHRINK | F_SEAL_WRITE);
	size_is(memory, page, EINVAL, "with F_SEAL_WRITE");
	close(memory);
}

CASE(heap_limits, "A heap refuses what is nothing, or more than it can ever have",
     .params = "heap=heap:system limit=0")
{
	const char *name = strchr(param_str("heap"), ':');
	size_t page = (size_t)sysconf(_SC_PAGESIZE), limit = param_u64("limit");
	int fd;

	if (!name)
		broken("heap is '%s', expected heap:NAME", param_str("heap"));
	name++;
	heap_alloc_errno(name, 0, EINVAL);
	heap_alloc_errno(name, SIZE_MAX, EINVAL);	/* rounded up to pages it is nothing */
	if (limit)
		heap_alloc_errno(name, limit + page, ENOMEM);
	fd = heap_alloc(name, 1);
	check(dmabuf_size(fd) == page, "one byte is a buffer of %zu", dmabuf_size(fd));
	close(fd);
}
