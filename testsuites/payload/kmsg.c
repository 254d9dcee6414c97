/* SPDX-License-Identifier: MIT */
/* What the kernel logged while a case ran, from /dev/kmsg. */
#include "harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORDS_MAX 200
#define BYTES_MAX (64u << 10)
#define DROPPED_MAX 20000	/* a kernel that logs without end must not hold up the block */
#define RECORD_BYTES 8192	/* the kernel's own limit for one read is below this */

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

void kmsg_report(struct text *out)
{
	static const char *const levels[] = { "emerg", "alert", "crit", "err",
					      "warn",  "notice", "info", "debug" };
	char record[RECORD_BYTES];
	size_t records = 0, dropped = 0, start = out->used;
	ssize_t got;

	if (kmsg_fd < 0)
		return;
	while (dropped < DROPPED_MAX && (got = next_record(record, sizeof(record)))) {
		char *text, *end;

		if (got < 0) {
			text_add(out, "# dmesg warn [the kernel overwrote records before they were read]\n");
			continue;
		}
		/* "priority,sequence,microseconds,flags;text\n KEY=value…" */
		text = strchr(record, ';');
		if (!text)
			continue;
		text++;
		end = strchr(text, '\n');
		if (records == RECORDS_MAX || out->used - start > BYTES_MAX) {
			dropped++;
			continue;
		}
		records++;
		text_add(out, "# dmesg %s ", levels[strtoul(record, NULL, 10) & 7]);
		/* The kernel has escaped this already: \xNN stays as it is. */
		for (size_t i = 0; text[i] && text + i != end; i++) {
			if (text[i] >= 0x20 && text[i] < 0x7f)
				text_add_bytes(out, &text[i], 1);
			else
				text_add(out, "\\x%02x", (unsigned char)text[i]);
		}
		text_add_bytes(out, "\n", 1);
	}
	if (dropped)
		text_add(out, "# dmesg warn [%zu records more]\n", dropped);
}

uint64_t kmsg_position(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[RECORD_BYTES];
	uint64_t position = 0;
	ssize_t got;

	if (fd < 0)
		return 0;
	while ((got = read(fd, record, sizeof(record) - 1)) > 0 || (got < 0 && errno == EPIPE)) {
		const char *comma;

		if (got < 0)
			continue;
		record[got] = '\0';
		comma = strchr(record, ',');
		if (comma)
			position = strtoull(comma + 1, NULL, 10) + 1;
	}
	close(fd);
	return position;
}
