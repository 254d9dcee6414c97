/* SPDX-License-Identifier: MIT */
/*
 * What a case leaves behind, in memory shared with the harness: no system call per record, and
 * whatever was told before a crash is still there after it.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DATA_BYTES (1u << 20)
#define ALIGNMENT 8u

struct record {
	uint16_t length;	/* of the text, without NUL */
	uint8_t kind;
	_Atomic uint8_t ready;
	char text[];
};

struct report {
	_Atomic uint32_t used;
	_Atomic uint32_t lost;
	_Atomic uint32_t outcome;
	_Atomic uint32_t reason_ready;
	char reason[REASON_MAX_BYTES];
	_Alignas(ALIGNMENT) char data[DATA_BYTES];
};

static uint32_t record_bytes(size_t length)
{
	return (uint32_t)((sizeof(struct record) + length + ALIGNMENT - 1) & ~(ALIGNMENT - 1));
}

struct report *report_new(void)
{
	struct report *report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (report == MAP_FAILED)
		abort();
	return report;
}

void report_clear(struct report *report)
{
	uint32_t used = atomic_load(&report->used);

	memset(report->data, 0, used < DATA_BYTES ? used : DATA_BYTES);
	atomic_store(&report->used, 0);
	atomic_store(&report->lost, 0);
	atomic_store(&report->outcome, FARM_NONE);
	atomic_store(&report->reason_ready, 0);
	report->reason[0] = '\0';
}

bool report_add(struct report *report, enum record_kind kind, const char *text)
{
	size_t length = strlen(text);
	uint32_t start = atomic_load(&report->used);
	uint32_t end;
	struct record *record;

	do {
		end = start + record_bytes(length);
		if (length > UINT16_MAX || start > DATA_BYTES || end > DATA_BYTES) {
			atomic_store(&report->lost, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&report->used, &start, end));

	record = (struct record *)(report->data + start);
	record->length = (uint16_t)length;
	record->kind = (uint8_t)kind;
	memcpy(record->text, text, length);
	atomic_store(&record->ready, 1);
	return true;
}

bool report_verdict(struct report *report, enum farm_outcome outcome, const char *reason)
{
	uint32_t none = FARM_NONE;

	if (!atomic_compare_exchange_strong(&report->outcome, &none, outcome))
		return false;
	snprintf(report->reason, sizeof(report->reason), "%s", reason);
	atomic_store(&report->reason_ready, 1);
	return true;
}

enum farm_outcome report_outcome(const struct report *report)
{
	uint32_t outcome = atomic_load(&report->outcome);

	return outcome <= FARM_ERROR ? (enum farm_outcome)outcome : FARM_ERROR;
}

void report_reason(const struct report *report, char *reason, size_t size)
{
	if (atomic_load(&report->reason_ready))
		snprintf(reason, size, "%.*s", (int)sizeof(report->reason) - 1, report->reason);
	else
		snprintf(reason, size, "died while it told why");
}

bool report_next(const struct report *report, size_t *cursor, enum record_kind *kind, char *text,
		 size_t size)
{
	uint32_t used = atomic_load(&report->used);
	const struct record *record;

	if (used > DATA_BYTES || *cursor + sizeof(*record) > used)
		return false;
	record = (const struct record *)(report->data + *cursor);
	if (!atomic_load(&record->ready) || *cursor + record_bytes(record->length) > used ||
	    record->length >= size)
		return false;
	*kind = record->kind;
	memcpy(text, record->text, record->length);
	text[record->length] = '\0';
	*cursor += record_bytes(record->length);
	return true;
}

bool report_complete(const struct report *report)
{
	char text[REASON_MAX_BYTES * 2];
	enum record_kind kind;
	size_t cursor = 0;

	while (report_next(report, &cursor, &kind, text, sizeof(text)))
		;
	return cursor == atomic_load(&report->used) && !atomic_load(&report->lost);
}
