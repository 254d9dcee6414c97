/* SPDX-License-Identifier: MIT */
/*
 * What a case must not leave behind.
 *
 * "bufinfo:objects", "bufinfo:bytes": the dma-bufs that there are, of whoever, as debugfs totals them
 * (drivers/dma-buf/dma-buf.c, dma_buf_debug_show, 6.12).
 *
 * "balance:MADE-GONE": what one counter counted less what another did, such as fences that were
 * initialised and not destroyed.
 */
#include "counter.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"
#define DESCRIBED_MAX 4

/* --- bufinfo --------------------------------------------------------------------------------------- */

static int bufinfo_fd = -1;
static bool wants_bytes[COUNTERS_MAX];

/* Reads on at `offset`, and a whole number of lines; 0 at the end. */
static size_t read_lines(char *text, size_t size, off_t offset)
{
	ssize_t got = pread(bufinfo_fd, text, size - 1, offset);
	char *last;

	if (got <= 0)
		return 0;
	text[got] = '\0';
	last = strrchr(text, '\n');
	if (last && last[1])
		last[1] = '\0';
	return strlen(text);
}

/* The totals, which stand in the last line: "Total 3 objects, 12288 bytes". */
static bool read_totals(int64_t *objects, int64_t *bytes)
{
	char text[8192];
	bool found = false;
	off_t offset = 0;
	size_t used;

	while ((used = read_lines(text, sizeof(text), offset))) {
		for (const char *at = text; (at = strstr(at, "Total ")); at++) {
			long long seen[2];

			if (sscanf(at, "Total %lld objects, %lld bytes", &seen[0], &seen[1]) == 2) {
				*objects = seen[0];
				*bytes = seen[1];
				found = true;
			}
		}
		offset += (off_t)used;
	}
	return found;
}

static void read_bufinfo(struct reading *reading)
{
	int64_t objects, bytes;
	bool valid = bufinfo_fd >= 0 && read_totals(&objects, &bytes);

	for (size_t i = 0; i < counters_count(); i++) {
		if (!counter_is_of(i, &source_bufinfo))
			continue;
		reading->valid[i] = valid;
		if (valid)
			reading->value[i] = wants_bytes[i] ? bytes : objects;
	}
}

static void open_bufinfo(size_t counter, const char *what)
{
	int64_t objects, bytes;

	if (strcmp(what, "objects") && strcmp(what, "bytes")) {
		counter_malformed(counter, &source_bufinfo, what);
		return;
	}
	wants_bytes[counter] = !strcmp(what, "bytes");
	if (wants_bytes[counter])
		counter_set_unit(counter, "B", 1);
	if (bufinfo_fd < 0)
		bufinfo_fd = open(BUFINFO, O_RDONLY | O_CLOEXEC);
	if (bufinfo_fd < 0)
		counter_set_absent(counter, "open " BUFINFO ": %s (needs root, debugfs mounted and "
				   "CONFIG_DEBUG_FS)", errname(errno));
	else if (!read_totals(&objects, &bytes))
		counter_set_absent(counter, BUFINFO " has no totals");
}

/* "size flags mode count exporter ino name": size and exporter of the first few that there are. */
static void describe_bufinfo(size_t counter, char *words, size_t size)
{
	char text[8192], *save = NULL;
	size_t used = 0, count = 0;

	*words = '\0';
	if (wants_bytes[counter] || bufinfo_fd < 0 || !read_lines(text, sizeof(text), 0))
		return;
	for (char *line = strtok_r(text, "\n", &save); line && count < DESCRIBED_MAX && used < size;
	     line = strtok_r(NULL, "\n", &save)) {
		unsigned long long bytes;
		char exporter[32];

		if (sscanf(line, "%8llu %*8x %*8x %*8u %31s", &bytes, exporter) != 2)
			continue;
		used += (size_t)snprintf(words + used, size - used, "%s%s of %llu bytes",
					 count ? ", " : "there now: ", exporter, bytes);
		count++;
	}
}

static void close_bufinfo(void)
{
	if (bufinfo_fd >= 0)
		close(bufinfo_fd);
	bufinfo_fd = -1;
}

const struct counter_source source_bufinfo = {
	.prefix = "bufinfo:", .form = "bufinfo:objects or bufinfo:bytes",
	.whole_case = true, .settles = true,
	.open = open_bufinfo, .read = read_bufinfo, .describe = describe_bufinfo,
	.close = close_bufinfo,
};

/* --- balances -------------------------------------------------------------------------------------- */

static struct {
	size_t made, gone;
} balances[COUNTERS_MAX];

static void derive_balances(struct reading *reading)
{
	for (size_t i = 0; i < counters_count(); i++) {
		size_t made = balances[i].made, gone = balances[i].gone;

		if (!counter_is_of(i, &source_balance))
			continue;
		reading->value[i] = reading->value[made] - reading->value[gone];
		reading->enabled_ns[i] = reading->enabled_ns[made];
		reading->running_ns[i] = reading->running_ns[made];
		reading->valid[i] = reading->valid[made] && reading->valid[gone];
	}
}

static void open_balance(size_t counter, const char *what)
{
	const char *minus = strchr(what, '-');
	char made[NAME_MAX_BYTES];

	if (!minus || (size_t)(minus - what) >= sizeof(made)) {
		counter_malformed(counter, &source_balance, what);
		return;
	}
	snprintf(made, sizeof(made), "%.*s", (int)(minus - what), what);
	if (!counter_find(made, &balances[counter].made) ||
	    !counter_find(minus + 1, &balances[counter].gone)) {
		counter_malformed(counter, &source_balance, what);
		return;
	}
	if (counter_pauses(balances[counter].made) || counter_pauses(balances[counter].gone))
		counter_set_pauses(counter);
	if (counter_absent(balances[counter].made))
		counter_set_absent(counter, "%s: %.180s", made,
				   counter_absent(balances[counter].made));
	else if (counter_absent(balances[counter].gone))
		counter_set_absent(counter, "%.60s: %.180s", minus + 1,
				   counter_absent(balances[counter].gone));
}

const struct counter_source source_balance = {
	.prefix = "balance:", .form = "balance:MADE-GONE, two counters that come before it",
	.whole_case = true, .settles = true, .open = open_balance, .derive = derive_balances,
};
