/* SPDX-License-Identifier: MIT */
/*
 * What the kernel logged while a case ran, from /dev/kmsg: all of it, or of very much the first records,
 * the last, and what is a warning or worse in between.
 */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_MAX 100
#define LAST_MAX 100
#define GRAVE_MAX 100		/* in between */
#define WARNING 4u		/* KERN_WARNING; what is worse is below */
#define READ_MAX 20000		/* a kernel that logs without end must not hold up the block */
#define RECORD_BYTES 8192	/* the kernel's own limit for one read is below this */
#define LINE_BYTES 1024		/* a record's text: LOG_LINE_MAX (kernel/printk/printk.c, 6.12) is less */

static int kmsg_fd = -1;

void kmsg_open(void)
{
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

void kmsg_mark(void)
{
	if (kmsg_fd >= 0)
		lseek(kmsg_fd, 0, SEEK_END);
}

/* One record, terminated; 0: no more; -EPIPE: records were overwritten before they were read. */
static ssize_t next_record(char *record, size_t size)
{
	ssize_t got;

	do {
		got = read(kmsg_fd, record, size - 1);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EPIPE ? -EPIPE : 0;
	record[got] = '\0';
	return got;
}

struct line {
	unsigned int level;
	char text[LINE_BYTES];
};

/* "priority,sequence,microseconds,flags;text\n KEY=value…"; false: it is none. */
static bool parse_record(const char *record, struct line *line)
{
	const char *text = strchr(record, ';');

	if (!text)
		return false;
	line->level = strtoul(record, NULL, 10) & 7;
	snprintf(line->text, sizeof(line->text), "%.*s", (int)strcspn(text + 1, "\n"), text + 1);
	return true;
}

static void write_line(struct text *out, const struct line *line)
{
	static const char *const levels[] = { "emerg", "alert", "crit", "err",
					      "warn",  "notice", "info", "debug" };

	text_add(out, "# dmesg %s ", levels[line->level]);
	/* The kernel has escaped this already: \xNN stays as it is. */
	for (const char *at = line->text; *at; at++) {
		if (*at >= 0x20 && *at < 0x7f)
			text_add_bytes(out, at, 1);
		else
			text_add(out, "\\x%02x", (unsigned char)*at);
	}
	text_add_bytes(out, "\n", 1);
}

void kmsg_report(struct text *out)
{
	static struct line last[LAST_MAX];	/* a ring, full after FIRST_MAX + LAST_MAX records */
	size_t records = 0, grave = 0, left_out = 0, kept;
	char record[RECORD_BYTES];
	ssize_t got;

	if (kmsg_fd < 0)
		return;
	while (records < READ_MAX && (got = next_record(record, sizeof(record)))) {
		struct line line, *place;

		if (got < 0) {
			text_add(out, "# dmesg warn [the kernel overwrote records before they were read]\n");
			continue;
		}
		if (!parse_record(record, &line))
			continue;
		if (records++ < FIRST_MAX) {
			write_line(out, &line);
			continue;
		}
		place = &last[(records - 1) % LAST_MAX];
		if (records > FIRST_MAX + LAST_MAX) {
			if (place->level <= WARNING && grave++ < GRAVE_MAX)
				write_line(out, place);
			else
				left_out++;
		}
		*place = line;
	}
	if (left_out)
		text_add(out, "# dmesg warn [%zu records left out]\n", left_out);
	kept = records > FIRST_MAX + LAST_MAX ? LAST_MAX : records > FIRST_MAX ? records - FIRST_MAX : 0;
	for (size_t i = records - kept; i < records; i++)
		write_line(out, &last[i % LAST_MAX]);
}
