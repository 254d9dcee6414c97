/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENT "events/dma/dma_map_sg/enable"
/* One for all: a case that ended between begin and end left it, and the next one removes it. */
#define INSTANCE "/sys/kernel/tracing/instances/farm"

static int tell(const char *file, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	return write_file_raw(path, text);
}

int dma_trace_begin_raw(void)
{
	char pid[16];
	int err;

	if (access("/sys/kernel/tracing/" EVENT, F_OK) < 0)
		return -errno;
	rmdir(INSTANCE);
	if (mkdir(INSTANCE, 0700) < 0)
		return -errno;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	err = tell("set_event_pid", pid);
	if (!err)
		err = tell(EVENT, "1");
	if (err)
		rmdir(INSTANCE);
	return err;
}

/* The next number of "{0x1,0x2}" at *at, which then stands behind it. */
static bool next_number(const char **at, uint64_t *number)
{
	char *end;

	if (**at != '{' && **at != ',')
		return false;
	*number = strtoull(*at + 1, &end, 16);
	if (end == *at + 1)
		return false;
	*at = end;
	return true;
}

static const char *after(const char *line, const char *word)
{
	const char *found = strstr(line, word);

	return found ? found + strlen(word) : "";
}

struct dma_map dma_map_parse(const char *line)
{
	const char *device = after(line, "dma_map_sg: ");
	const char *addresses = after(line, "dma_addrs="), *sizes = after(line, "sizes=");
	const char *pages = after(line, "phys_addrs=");
	struct dma_map map = { .contiguous = true };
	uint64_t address, size, expected = 0;

	snprintf(map.device, sizeof(map.device), "%.*s", (int)strcspn(device, " "), device);
	while (next_number(&addresses, &address) && next_number(&sizes, &size)) {
		if (!map.listed)
			map.address = address;
		else if (address != expected)
			map.contiguous = false;
		expected = address + size;
		map.bytes += size;
		if (size > map.largest)
			map.largest = size;
		map.listed++;
	}
	/* An older event does not tell how many there are, and lists all of them. */
	if (sscanf(after(line, " nents="), "%*u/%u ents=%*u/%u", &map.entries, &map.segments) != 2) {
		map.segments = map.listed;
		for (map.entries = 0; next_number(&pages, &address);)
			map.entries++;
	}
	return map;
}

size_t dma_trace_end(struct dma_map *maps, size_t room)
{
	FILE *trace;
	size_t count = 0, size = 0;
	char *line = NULL;

	tell(EVENT, "0");
	trace = fopen(INSTANCE "/trace", "re");
	while (trace && getline(&line, &size, trace) >= 0) {
		if (!strstr(line, " dma_map_sg: "))
			continue;
		if (count < room)
			maps[count] = dma_map_parse(line);
		count++;
	}
	if (trace)
		fclose(trace);
	free(line);
	rmdir(INSTANCE);
	return count;
}
