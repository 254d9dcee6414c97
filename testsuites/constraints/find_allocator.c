/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define MOST 6u		/* 720 orders */

struct list {
	char *text;
	const char *names[MOST];
	unsigned int count;
};

/* "drm:vgem;refdev" */
static struct list split(const char *words)
{
	struct list list = { .text = strdup(words) };
	char *rest = NULL;

	if (!list.text)
		broken("no memory for a list of names");
	for (char *word = strtok_r(list.text, ";", &rest); word; word = strtok_r(NULL, ";", &rest)) {
		if (list.count == MOST)
			broken("'%s' has more than %u names", words, MOST);
		list.names[list.count++] = word;
	}
	return list;
}

/* The next order of numbers in the dictionary's sense; false after the last. */
static bool next_order(unsigned int *order, unsigned int count)
{
	unsigned int i = count, j = count;

	while (i > 1 && order[i - 2] >= order[i - 1])
		i--;
	if (i < 2)
		return false;
	while (order[j - 1] <= order[i - 2])
		j--;
	order[i - 2] ^= order[j - 1];
	order[j - 1] ^= order[i - 2];
	order[i - 2] ^= order[j - 1];
	for (j = count; i < j; i++, j--) {
		unsigned int one = order[i - 1];

		order[i - 1] = order[j - 1];
		order[j - 1] = one;
	}
	return true;
}

/* Attached to nothing: neither what was tried nor what was taken and given back. */
static void attached_as_before(unsigned long before, bool counted, const char *exporter)
{
	struct bufinfo now;

	if (!counted)
		return;
	now = bufinfo();
	check(now.attachments == before, "after a trial of %s %lu attachments are left, expected %lu",
	      exporter, now.attachments, before);
}

/*
 * Whether all importers, in this order, have the buffer at once; afterwards none has it. What bufinfo
 * says is attached meanwhile goes to *most, if it is more (NULL: bufinfo is not to be had).
 */
static bool suits(struct buffer *buffer, struct import *importers, const unsigned int *order,
		  unsigned int count, unsigned long *most)
{
	unsigned int taken = 0;
	bool all;

	while (taken < count && !import_try(&importers[order[taken]], buffer->fd))
		taken++;
	all = taken == count;
	if (most && taken) {
		unsigned long attached = bufinfo().attachments;

		*most = attached > *most ? attached : *most;
	}
	while (taken--)
		import_drop(&importers[order[taken]]);
	return all;
}

CASE(find_allocator, "The first exporter whose buffer all importers take is found in any order",
     .timeout_ms = 60000, .params = "exporters= importers= counted=1 size=1048576")
{
	struct list exporters = split(param_str("exporters")), importers = split(param_str("importers"));
	unsigned int order[MOST], chosen = MOST, orders = 0, trials = 0, failed = 0;
	bool counted = param_u64("counted");
	unsigned long most = 0;
	struct buffer buffers[MOST];
	struct import imports[MOST];

	for (unsigned int i = 0; i < exporters.count; i++)
		buffers[i] = buffer_open(exporters.names[i], param_u64("size"));
	for (unsigned int i = 0; i < importers.count; i++) {
		imports[i] = import_open(importers.names[i]);
		order[i] = i;
	}

	window_begin();
	do {
		unsigned long before = counted ? bufinfo().attachments : 0;
		unsigned int first = 0;

		while (first < exporters.count) {
			bool suited = suits(&buffers[first], imports, order, importers.count,
					    counted ? &most : NULL);

			trials++;
			attached_as_before(before, counted, exporters.names[first]);
			if (suited)
				break;
			failed++;
			first++;
		}
		check(!orders || first == chosen, "order %u of the importers finds %s, the first found %s",
		      orders, first < exporters.count ? exporters.names[first] : "none",
		      chosen < exporters.count ? exporters.names[chosen] : "none");
		chosen = first;
		orders++;
	} while (next_order(order, importers.count));
	window_end("orders");

	info("chosen", "%s", chosen < exporters.count ? exporters.names[chosen] : "none");
	info("orders", "%u", orders);
	info("most_attached", "%lu", most);
	info("trials", "%u", trials);
	info("failed", "%u", failed);
	for (unsigned int i = 0; i < importers.count; i++)
		import_close(&imports[i]);
	for (unsigned int i = 0; i < exporters.count; i++)
		buffer_close(&buffers[i]);
	free(exporters.text);
	free(importers.text);
}
