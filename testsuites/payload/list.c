/* SPDX-License-Identifier: MIT */
/* The registered cases: found by name, listed with what the build knows of their sources. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 10000

/* The linker gathers the entries of all files between these. */
extern const struct farm_case *const __start_farm_cases[];
extern const struct farm_case *const __stop_farm_cases[];

const struct farm_case *case_find(const char *name)
{
	for (const struct farm_case *const *entry = __start_farm_cases; entry < __stop_farm_cases;
	     entry++)
		if (!strcmp((*entry)->name, name))
			return *entry;
	return NULL;
}

const char *case_hash(const struct farm_case *test)
{
	for (size_t i = 0; test && i < farm_source_count; i++)
		if (!strcmp(farm_sources[i].file, test->file))
			return farm_sources[i].hash;
	return "0000000000000000";
}

unsigned int case_timeout_ms(const struct farm_case *test)
{
	return test->timeout_ms ? test->timeout_ms : DEFAULT_TIMEOUT_MS;
}

/* The folder of the case's file; cases of the harness itself are no suite's: "selftest". */
static const char *suite_of(const struct farm_case *test)
{
	static char suite[64];
	size_t length = strcspn(test->file, "/");

	if (length >= sizeof(suite))
		length = sizeof(suite) - 1;
	memcpy(suite, test->file, length);
	suite[length] = '\0';
	return strcmp(suite, "payload") ? suite : "selftest";
}

static int by_file_and_line(const void *a, const void *b)
{
	const struct farm_case *one = *(const struct farm_case *const *)a;
	const struct farm_case *other = *(const struct farm_case *const *)b;
	int order = strcmp(one->file, other->file);

	return order ? order : one->line - other->line;
}

static const struct farm_case **sorted(size_t *count)
{
	const struct farm_case **cases;

	*count = (size_t)(__stop_farm_cases - __start_farm_cases);
	cases = calloc(*count, sizeof(*cases));
	if (!cases)
		abort();
	memcpy(cases, __start_farm_cases, *count * sizeof(*cases));
	qsort(cases, *count, sizeof(*cases), by_file_and_line);
	return cases;
}

void list_text(struct text *out)
{
	size_t count;
	const struct farm_case **cases = sorted(&count);

	for (size_t i = 0; i < count; i++)
		text_add(out, "%-12s %-28s %s\n%41s %s\n", suite_of(cases[i]), cases[i]->name,
			 cases[i]->doc, "", cases[i]->params ? cases[i]->params : "(no parameters)");
	free(cases);
}

void list_json(struct text *out)
{
	size_t count;
	const struct farm_case **cases = sorted(&count);

	text_add(out, "{\"schema\": 1, \"build\": \"%s\", \"cases\": [", farm_build_id);
	for (size_t i = 0; i < count; i++) {
		text_add(out, "%s\n{\"name\": \"%s\", \"suite\": ", i ? "," : "", cases[i]->name);
		text_add_json(out, suite_of(cases[i]));
		text_add(out, ", \"doc\": ");
		text_add_json(out, cases[i]->doc);
		text_add(out, ", \"file\": ");
		text_add_json(out, cases[i]->file);
		text_add(out, ", \"line\": %d, \"timeout_ms\": %u, \"params\": ", cases[i]->line,
			 case_timeout_ms(cases[i]));
		text_add_json(out, cases[i]->params ? cases[i]->params : "");
		text_add(out, ", \"needs\": ");
		text_add_json(out, cases[i]->needs ? cases[i]->needs : "");
		text_add(out, ", \"hash\": \"%s\"}", case_hash(cases[i]));
	}
	text_add(out, "\n]}\n");
	free(cases);
}
