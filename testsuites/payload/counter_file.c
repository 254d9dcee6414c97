/* SPDX-License-Identifier: MIT */
/*
 * "level:UNIT:SCALE:PATH" and "change:UNIT:SCALE:PATH": a number in a file of the kernel, as it is at
 * the end of a case, or how much it changed. PATH may be a pattern, each file of it then counts for
 * itself; "PATH#WORD" takes the number behind the word, as in /proc/meminfo.
 */
#include "counter.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 256

/* Files are opened for each reading: those of debugfs cannot be read twice (simple_attr_open). */
static struct {
	char path[PATH_BYTES];
	char word[NAME_MAX_BYTES];
} files[COUNTERS_MAX];

/* The number in the file, or behind its word; 0 or -errno, -ENODATA if there is none. */
static int read_number(size_t counter, int64_t *value)
{
	char text[8192], *end;
	const char *word = files[counter].word, *at = text;
	ssize_t got = read_file_raw(files[counter].path, text, sizeof(text));

	if (got < 0)
		return (int)got;
	if (*word) {
		size_t length = strlen(word);

		while (at && (strncmp(at, word, length) || !strchr(": \t", at[length]))) {
			at = strchr(at, '\n');
			at = at ? at + 1 : NULL;
		}
		if (!at)
			return -ENODATA;
		at += length + (at[length] == ':');
	}
	*value = strtoll(at, &end, 0);
	return end == at ? -ENODATA : 0;
}

static void read_files(struct reading *reading, const struct counter_source *source)
{
	for (size_t i = 0; i < counters_count(); i++)
		if (counter_is_of(i, source))
			reading->valid[i] = !read_number(i, &reading->value[i]);
}

static void read_levels(struct reading *reading)
{
	read_files(reading, &source_level);
}

static void read_changes(struct reading *reading)
{
	read_files(reading, &source_change);
}

static void open_file(size_t counter, const char *path, const char *word)
{
	int64_t value;
	int err;

	snprintf(files[counter].path, sizeof(files[counter].path), "%s", path);
	snprintf(files[counter].word, sizeof(files[counter].word), "%s", word);
	err = read_number(counter, &value);
	if (err == -ENODATA)
		counter_set_absent(counter, "%.120s has no number%s%.60s", path, *word ? " behind " : "",
				   word);
	else if (err)
		counter_set_absent(counter, "read %.120s: %s", path, errname(err));
}

/* What tells the files of a pattern apart: the first part of the path that is not in the pattern. */
static void name_part(const char *pattern, const char *path, char *name, size_t size)
{
	size_t start = strcspn(pattern, "*?[");

	while (start && pattern[start - 1] != '/')
		start--;
	snprintf(name, size, "%.*s", (int)strcspn(path + start, "/"), path + start);
}

static void open_files(size_t counter, const struct counter_source *source, const char *what)
{
	char unit[32], pattern[PATH_BYTES], name[NAME_MAX_BYTES], *end;
	const char *scale = strchr(what, ':'), *path, *word;
	bool many;
	double factor;
	glob_t found;

	factor = scale ? strtod(scale + 1, &end) : 0;
	if (!scale || (size_t)(scale - what) >= sizeof(unit) || *end != ':' || !(factor > 0) ||
	    end[1] != '/' || strlen(end + 1) >= sizeof(pattern)) {
		counter_malformed(counter, source, what);
		return;
	}
	path = end + 1;
	word = strchr(path, '#');
	snprintf(unit, sizeof(unit), "%.*s", (int)(scale - what), what);
	snprintf(pattern, sizeof(pattern), "%.*s", (int)strcspn(path, "#"), path);
	counter_set_unit(counter, unit, factor);
	many = strpbrk(pattern, "*?[") != NULL;
	if (glob(pattern, 0, NULL, &found)) {
		counter_set_absent(counter, "there is no %.120s", pattern);
		return;
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		size_t one = counter;

		name_part(pattern, found.gl_pathv[i], name, sizeof(name));
		if (!i && many)
			counter_set_of(counter, name);
		else if (i && !counter_add_of(counter, name, &one))
			break;
		open_file(one, found.gl_pathv[i], word ? word + 1 : "");
	}
	globfree(&found);
}

static void open_level(size_t counter, const char *what)
{
	open_files(counter, &source_level, what);
}

static void open_change(size_t counter, const char *what)
{
	open_files(counter, &source_change, what);
}

const struct counter_source source_level = {
	.prefix = "level:", .form = "level:UNIT:SCALE:PATH[#WORD]", .whole_case = true,
	.level = true, .open = open_level, .read = read_levels,
};
const struct counter_source source_change = {
	.prefix = "change:", .form = "change:UNIT:SCALE:PATH[#WORD]", .whole_case = true,
	.open = open_change, .read = read_changes,
};
