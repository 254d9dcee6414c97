/* SPDX-License-Identifier: MIT */
/* What the harness's own files share; cases do not include this. */
#ifndef FARM_HARNESS_H
#define FARM_HARNESS_H

#define FARM_HELPERS
#include "farm.h"

#define COUNTERS_MAX 128
#define NAME_MAX_BYTES 64	/* names of counters, phases, ids, with their NUL */
#define REASON_MAX_BYTES 512
#define PARAMS_MAX 32
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* --- text.c: strings in and out ---------------------------------------------------------------- */

/* Text that grows; a failed allocation ends the process, as nothing sensible could follow. */
struct text {
	char *bytes;
	size_t used, size;
};
void text_add(struct text *text, const char *fmt, ...) FARM_PRINTF(2, 3);
void text_add_bytes(struct text *text, const char *bytes, size_t count);
/* Adds at most `limit` source bytes as printable ASCII: \\ for a backslash, \xNN for the rest. */
void text_add_escaped(struct text *text, const char *bytes, size_t count, size_t limit);
void text_add_json(struct text *text, const char *string);
/* Writes everything to fd and empties the text; false when the reader is gone. */
bool text_flush(struct text *text, int fd);

bool is_token(const char *string, const char *also); /* letters, digits and `also`; not empty */
bool parse_u64(const char *string, uint64_t *value);
bool percent_decode(char *string);		      /* in place; false on a bad escape or NUL */
const char *signal_name(int number);
/* A whole number in full, or the shortest decimal that reads back as the same double. */
void format_number(double value, char *out, size_t size);

/* --- report.c: what a case leaves in memory that it shares with the harness ---------------------- */

enum record_kind { RECORD_INFO = 'I', RECORD_SAMPLE = 'S', RECORD_ABSENT = 'A' };

struct report;
struct report *report_new(void);
void report_clear(struct report *report);
/* Any process or thread of the case may add; false when full (the harness then says so). */
bool report_add(struct report *report, enum record_kind kind, const char *text);
/* The first verdict stands; false for any later one. */
bool report_verdict(struct report *report, enum farm_outcome outcome, const char *reason);
enum farm_outcome report_outcome(const struct report *report);

/* Read side, after every process of the case is gone; nothing in the memory is trusted. */
void report_reason(const struct report *report, char *reason, size_t size);
bool report_complete(const struct report *report);	/* nothing lost or half-written */
/* Copies record number *cursor (a byte position, 0 first) and moves on; false at the end. */
bool report_next(const struct report *report, size_t *cursor, enum record_kind *kind, char *text,
		 size_t size);

/* --- counters.c ---------------------------------------------------------------------------------- */

struct reading {
	uint64_t wall_ns;
	uint32_t pauses;	/* those that had ended at the begin, or had begun by the end */
	int64_t value[COUNTERS_MAX];
	uint64_t enabled_ns[COUNTERS_MAX], running_ns[COUNTERS_MAX];
	bool valid[COUNTERS_MAX];
};

enum scope { SCOPE_WINDOW, SCOPE_CASE };

/*
 * Opens what each spec names, in place of what was open; says so line by line. A spec that begins with
 * "|" is another way to count what the one before it names, where that way does not work.
 */
void counters_open(char *const *specs, size_t count, struct text *out);
/* Counters by number; those of one spec have one name and each an `of` of its own. */
size_t counters_count(void);
/* The first counter of that name; false if there is none. */
bool counter_find(const char *name, size_t *index);
const char *counter_name(size_t index);
size_t counter_first(size_t index);		/* of all that have its name */
const char *counter_of(size_t index);		/* or "" */
const char *counter_unit(size_t index);
const char *counter_absent(size_t index);	/* the reason, or NULL */
bool counter_is_in(size_t index, enum scope scope);
void counters_begin(struct reading *reading, enum scope scope);	/* takes the wall time last */
void counters_end(struct reading *reading, enum scope scope);	/* takes the wall time first */
/*
 * Gives what is freed late (RCU, deferred work, the last reference of a file) time to go: waits until
 * nothing is left of what `end` has more than `begin`, at most SETTLE_MS, and brings `end` up to date.
 */
void counters_settle(const struct reading *begin, struct reading *end);
/* "# leak NAME text" for each counter that shows something left behind. */
void counters_write_leaks(const struct reading *begin, const struct reading *end,
			  struct text *out);
/* Whether it stood still for a while in between, so that it counted too little. */
bool counter_paused(size_t index, const struct reading *begin, const struct reading *end);
/* What came in between, or is there at the end; false, with a reason, when it would not be true. */
bool counter_value(size_t index, const struct reading *begin, const struct reading *end,
		   double *value, char *reason, size_t size);

/* --- kmsg.c -------------------------------------------------------------------------------------- */

void kmsg_open(void);
void kmsg_mark(void);			/* the case starts here */
void kmsg_report(struct text *out);	/* "# dmesg LEVEL text" for each record since the mark */

/* --- case.c: the child's side -------------------------------------------------------------------- */

struct run_request {
	const char *id;
	const char *name;
	unsigned int timeout_ms;	/* 0: the case's own */
	bool absences_told;		/* counters_open() has told which counters are absent for good */
	char *params[PARAMS_MAX];	/* "key=value", decoded */
	size_t param_count;
};

/* Readies this process for a case that is not known yet: nothing that a case opens may be open. */
void case_prepare(void);
/* Runs the case's body in this process, which ends with it. */
_Noreturn void case_main(const struct farm_case *test, const struct run_request *request,
			 struct report *report);
bool in_window(void);
/* Which descriptors the harness itself holds, so that any other after a case is a leak. */
void case_note_harness_fds(void);

/* --- runner.c ------------------------------------------------------------------------------------ */

/* What to look at while a case runs: calls back when there is input or its end. */
struct watch {
	int fd;					/* -1: nothing */
	bool (*readable)(struct watch *watch);	/* false: the other side is gone, stop now */
};

void runner_init(void);
/* Runs one case and writes its block; false: the watch said stop (nothing is left running). */
bool runner_run(const struct run_request *request, struct watch *watch, struct text *out,
		enum farm_outcome *outcome);

/* --- list.c -------------------------------------------------------------------------------------- */

const struct farm_case *case_find(const char *name);
const char *case_hash(const struct farm_case *test);
unsigned int case_timeout_ms(const struct farm_case *test);
void list_text(struct text *out);
void list_json(struct text *out);

/* --- jiffies.c ----------------------------------------------------------------------------------- */

/* Awaits the next jiffy, so that none is shared with what came before, and says "jiffies N". */
void jiffies_tell(struct text *out);

/* --- facts.c, topology.c, serve.c, frame.c ------------------------------------------------------- */

void facts(struct text *out);
void topology(struct text *out);
int serve(void);
/* Numbers and checksums the lines of stdin; `status` is what ran before. */
int frame(const char *status);
/* "key=value" with a percent-encoded value into the request; NULL or what is wrong with it. */
const char *add_param(struct run_request *request, char *word);

/* --- written by the build ------------------------------------------------------------------------ */

struct source_hash {
	const char *file;	/* as in struct farm_case */
	const char *hash;	/* 16 hex digits: this file and the harness */
};
extern const struct source_hash farm_sources[];
extern const size_t farm_source_count;
extern const char farm_build_id[];

#endif
