/* SPDX-License-Identifier: MIT */
/* The kernel's jiffies, by which kmemleak says when what leaks was allocated. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define TRIES 200	/* milliseconds; a jiffy takes 1 to 10 */

/* As /proc/timer_list says with its first CPU (print_cpu(), kernel/time/timer_list.c, 6.12). */
static bool read_jiffies(uint64_t *jiffies)
{
	static const char key[] = "\njiffies: ";
	static char text[64 << 10];
	const char *at;

	if (read_file_raw("/proc/timer_list", text, sizeof(text)) <= 0)
		return false;
	at = strstr(text, key);
	if (!at)
		return false;
	*jiffies = strtoull(at + strlen(key), NULL, 10);
	return true;
}

void jiffies_tell(struct text *out)
{
	uint64_t before, now;

	if (!read_jiffies(&before)) {
		text_add(out, "jiffies absent /proc/timer_list does not tell them\n");
		return;
	}
	for (int i = 0; i < TRIES && read_jiffies(&now); i++) {
		if (now != before) {
			text_add(out, "jiffies %llu\n", (unsigned long long)now);
			return;
		}
		sleep_ms(1);
	}
	text_add(out, "jiffies absent /proc/timer_list always tells the same\n");
}
