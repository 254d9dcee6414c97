/* SPDX-License-Identifier: MIT */
/* "irq:SUBSTRING": the lines of /proc/interrupts that contain the text, all CPUs added up. */
#include "counter.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MAX 256

static char wanted[COUNTERS_MAX][NAME_MAX_BYTES];
static int interrupts_fd = -1;

static ssize_t read_interrupts(char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;

	while (used < size - 1 &&
	       (got = pread(interrupts_fd, text + used, size - 1 - used, (off_t)used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	return (ssize_t)used;
}

/* Adds up the per-CPU columns of one line. */
static uint64_t line_total(const char *line)
{
	const char *next = strchr(line, ':');
	uint64_t total = 0;

	for (size_t cpu = 0; next && cpu < COLUMNS_MAX; cpu++) {
		const char *from = next + (cpu ? 0 : 1);
		char *end;
		unsigned long long value = strtoull(from, &end, 10);

		if (end == from || (*end != ' ' && *end))
			break;
		total += value;
		next = end;
	}
	return total;
}

static void count(struct reading *reading)
{
	static char text[64 << 10];
	char *save = NULL;

	if (interrupts_fd < 0 || read_interrupts(text, sizeof(text)) <= 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < counters_count(); i++) {
			if (counter_is_of(i, &source_interrupt) && strstr(line, wanted[i])) {
				reading->value[i] += line_total(line);
				reading->valid[i] = true;
			}
		}
	}
}

static void open_interrupt(size_t counter, const char *substring)
{
	static struct reading now;

	if (!*substring || strlen(substring) >= sizeof(wanted[counter])) {
		counter_malformed(counter, &source_interrupt, substring);
		return;
	}
	if (interrupts_fd < 0)
		interrupts_fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	if (interrupts_fd < 0) {
		counter_set_absent(counter, "open /proc/interrupts: %s", errname(errno));
		return;
	}
	strcpy(wanted[counter], substring);
	memset(&now, 0, sizeof(now));
	count(&now);
	if (!now.valid[counter])
		counter_set_absent(counter, "no line of /proc/interrupts contains '%s'", substring);
}

static void close_interrupts(void)
{
	if (interrupts_fd >= 0)
		close(interrupts_fd);
	interrupts_fd = -1;
}

const struct counter_source source_interrupt = {
	.prefix = "irq:", .form = "irq:SUBSTRING",
	.open = open_interrupt, .read = count, .close = close_interrupts,
};
