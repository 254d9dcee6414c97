/* SPDX-License-Identifier: MIT */
/*
 * Lines for a serial line that others write to as well.
 *
 * The kernel writes its messages into the middle of what a program prints there. So each line has a
 * number and a checksum, and the last one says how many there were:
 *
 *	@farm 0 3610a686 the first line
 *	@farm end 0d2f5a1c 0 1
 *
 * What is not printable ASCII comes as \xNN, a backslash doubled. A line of over 1000 bytes goes on in
 * the next frame: what is not its end ends in one backslash.
 *
 * The checksum is CRC-32 (IEEE 802.3) over the line without it: "0 the first line". The last line
 * holds the exit status that it was told and the number of lines.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define MOST 1000	/* bytes of a line in a frame: four times that is less than where readers cut */

static uint32_t crc32(const char *bytes, size_t count)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < count; i++) {
		crc ^= (uint8_t)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static void add_framed(struct text *out, const char *tag, const char *line)
{
	struct text summed = { 0 };

	text_add(&summed, "%s %s", tag, line);
	text_add(out, "@farm %s %08x %s\n", tag, (unsigned int)crc32(summed.bytes, summed.used),
		 line);
	free(summed.bytes);
}

/* Adds the frames of one line, and counts them. */
static void add_line(struct text *out, size_t *count, const char *line, size_t length)
{
	do {
		struct text part = { 0 };
		size_t kept = length < MOST ? length : MOST;
		char tag[24];

		text_add_escaped(&part, line, kept, kept);
		line += kept;
		length -= kept;
		text_add(&part, "%s", length ? "\\" : "");
		snprintf(tag, sizeof(tag), "%zu", (*count)++);
		add_framed(out, tag, part.bytes);
		free(part.bytes);
	} while (length);
}

int frame(const char *status)
{
	struct text out = { 0 };
	char *line = NULL, last[64];
	size_t size = 0, count = 0;
	ssize_t length;
	bool written;

	while ((length = getline(&line, &size, stdin)) >= 0) {
		if (length && line[length - 1] == '\n')
			length--;
		add_line(&out, &count, line, (size_t)length);
	}
	free(line);
	snprintf(last, sizeof(last), "%.20s %zu", status, count);
	add_framed(&out, "end", last);
	written = text_flush(&out, STDOUT_FILENO);
	tcdrain(STDOUT_FILENO);
	free(out.bytes);
	return written ? 0 : 1;
}
