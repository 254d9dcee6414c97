/* SPDX-License-Identifier: MIT */
/*
 * What a DRM driver tells of one open file: time of its engines, memory that it holds
 * (/proc/self/fdinfo; Documentation/gpu/drm-usage-stats.rst, 6.12).
 */
#define FARM_HELPERS
#include "harness.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *key, *sample, *unit;
} keys[] = {
	{ "drm-engine-capacity-", NULL, NULL },	/* how many engines there are: nothing counted */
	{ "drm-engine-", "drm_engine_time", "ns" },
	{ "drm-cycles-", "drm_cycles", "count" },
	{ "drm-total-", "drm_memory_total", "B" },
	{ "drm-resident-", "drm_memory_resident", "B" },
};

/* "12345 ns", "64 KiB", "7": the number in the unit of its key. */
static double number_in_unit(const char *text)
{
	char *end;
	double value = (double)strtoull(text, &end, 10);

	while (isblank((unsigned char)*end))
		end++;
	if (!strncmp(end, "KiB", 3))
		return value * 1024;
	if (!strncmp(end, "MiB", 3))
		return value * 1024 * 1024;
	return value;
}

void drm_fdinfo_tell(char *text)
{
	char *save = NULL;
	bool told = false;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');

		for (size_t i = 0; colon && i < ARRAY_SIZE(keys); i++) {
			size_t length = strlen(keys[i].key);

			if (strncmp(line, keys[i].key, length))
				continue;
			*colon = '\0';
			if (keys[i].sample && is_token(line + length, "_-") &&
			    strlen(line + length) < NAME_MAX_BYTES) {
				sample_of(keys[i].sample, number_in_unit(colon + 1), keys[i].unit,
					  "case", line + length);
				told = true;
			}
			break;
		}
	}
	if (!told)
		sample_absent("drm_engine_time", "the driver's fdinfo has no drm-engine or drm-total");
}

void drm_close(int fd)
{
	char path[32], text[8192];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_file_raw(path, text, sizeof(text)) > 0)
		drm_fdinfo_tell(text);
	close(fd);
}
