/* SPDX-License-Identifier: MIT */
/*
 * What a payload case may use.
 *
 * A case is a function that the harness runs in a process of its own, with a time limit. It ends
 * by returning (PASS), by check()/fail() (FAIL), by skip() (SKIP) or by broken() (ERROR); these
 * never return. A crash, an early exit, a file descriptor or a process left open is an ERROR.
 *
 *	CASE(import_twice, "A second import of a buffer costs no map",
 *	     .timeout_ms = 5000, .params = "importer=drm:cirrus,cirrus-qemu size=1048576")
 *	{
 *		size_t size = param_u64("size");
 *		int drm = drm_open(param_str("importer"));
 *		int buffer = udmabuf_create(size);
 *
 *		window_begin();
 *		uint32_t handle = prime_import(drm, buffer);
 *		window_end("first");
 *		...
 *	}
 *
 * Helpers come in triples: `x_raw()` returns a value or -errno and never ends the case, `x()` ends
 * it with FAIL unless the call succeeds, `x_errno(…, E)` ends it unless the call fails with E.
 */
#ifndef FARM_H
#define FARM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FARM_STRINGIFY_(x) #x
#define FARM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

struct farm_case {
	const char *name;
	const char *doc;		/* one sentence */
	const char *file;		/* "suite/name.c" */
	int line;
	void (*run)(void);
	unsigned int timeout_ms;	/* 0: 10 s */
	const char *params;		/* "key=default key=" — all that it takes, blank-separated */
	const char *needs;		/* "smp": more than one CPU; else it is not run at all */
};

/*
 * Registers a case. `params` lists every parameter that the case takes with its default; one
 * without a default ("importer=") must be given. Values with blanks are percent-encoded.
 */
#define CASE(ident, sentence, ...)                                                            \
	static void farm_body_##ident(void);                                                  \
	static const struct farm_case farm_case_##ident = {                                   \
		.name = #ident, .doc = sentence, .file = __FILE__, .line = __LINE__,          \
		.run = farm_body_##ident, __VA_ARGS__                                         \
	};                                                                                    \
	static const struct farm_case *const farm_entry_##ident                               \
		__attribute__((used, retain, section("farm_cases"))) = &farm_case_##ident;    \
	static void farm_body_##ident(void)

/* --- parameters: given as key=value, else the case's default ------------------------------- */

const char *param_str(const char *key);	/* never NULL; broken() if it has no value */
uint64_t param_u64(const char *key);	/* decimal or 0x…; broken() if it is no number */
int param_errno(const char *key);	/* "EINVAL" → EINVAL, "" or "0" → 0 */
bool param_is(const char *key, const char *value);

/* --- verdicts: none of these returns (check only if cond holds) ------------------------------ */

#define check(cond, ...)                                                                      \
	do {                                                                                  \
		if (!(cond))                                                                  \
			fail(__VA_ARGS__);                                                    \
	} while (0)
#define fail(...) farm_end(FARM_FAIL, FARM_HERE, __VA_ARGS__)	/* what was tested is wrong */
#define skip(...) farm_end(FARM_SKIP, FARM_HERE, __VA_ARGS__)	/* never claimed here */
#define broken(...) farm_end(FARM_ERROR, FARM_HERE, __VA_ARGS__) /* the test itself broke */

/* --- what the case tells ----------------------------------------------------------------------- */

/* A fact that the test reads. key: [A-Za-z0-9_.-]+, at most 63 bytes; value: at most 500 bytes. */
void info(const char *key, const char *fmt, ...) FARM_PRINTF(2, 3);

/* One measured value. name, unit (ns, count, B …) and phase have no blanks; value is finite. */
void sample(const char *name, double value, const char *unit, const char *phase);
/* The same of one of several things: a device, an engine. of: letters, digits and "_.:-". */
void sample_of(const char *name, double value, const char *unit, const char *phase, const char *of);
/* There is no such sample, and why. */
void sample_absent(const char *name, const char *fmt, ...) FARM_PRINTF(2, 3);

/*
 * A window samples every counter, and wall time, between begin and end, under the name `phase`.
 * One at a time, in one process. The phase "case" is the harness's: it brackets the whole case.
 */
void window_begin(void);
void window_end(const char *phase);

/* --- time, processes, text --------------------------------------------------------------------- */

#define PATIENCE_MS 15000	/* for what a device does by itself, where nothing is claimed about its time */

uint64_t now_ns(void);			/* CLOCK_MONOTONIC */
void sleep_ms(unsigned int ms);

/*
 * What a wait may still take: { .left_ns = … }. Its pauses use it up, and none of them by more than ten times
 * its length: where the whole board stood still, as a virtual one does whose host is busy, nobody had that time.
 */
struct patience {
	uint64_t left_ns;
};
void patience_wait(struct patience *patience, unsigned int us);

/* Runs fn(arg) in a process of its own; in it check() and friends end the whole case at join(). */
pid_t spawn(void (*fn)(void *arg), void *arg);
void join(pid_t pid);			/* waits; ends the case unless the process returned from fn */
void kill_and_reap(pid_t pid);		/* SIGKILL, then waits until it is gone */

/* Zeroed memory that spawned processes share with the one that made it. */
void *shared_memory(size_t size);
void shared_memory_free(void *memory, size_t size);

const char *errname(int err);		/* EINVAL → "EINVAL"; accepts -errno; 0 → "0" */
int errvalue(const char *name);		/* "EINVAL" → EINVAL; -1 if unknown */

/* Writes text to a file such as a /sys or /proc entry; 0 or -errno. */
int write_file_raw(const char *path, const char *text);
void write_file(const char *path, const char *text);

/* Reads at most size - 1 bytes and terminates them; bytes read or -errno. */
ssize_t read_file_raw(const char *path, char *text, size_t size);

/* --- behind the macros ------------------------------------------------------------------------- */

enum farm_outcome { FARM_NONE, FARM_PASS, FARM_FAIL, FARM_SKIP, FARM_ERROR };

_Noreturn void farm_end(enum farm_outcome outcome, const char *file, int line, const char *fmt, ...)
	FARM_PRINTF(4, 5);
/*
 * Notes where the case stands, so that a failing helper names the case's line and not its own.
 * Files that define helpers define FARM_HELPERS first.
 */
void farm_at(const char *file, int line);
#define FARM_AT(call) (farm_at(__FILE__, __LINE__), call)

#ifdef FARM_HELPERS
#define FARM_HERE NULL, 0
#else
#define FARM_HERE __FILE__, __LINE__
#define param_str(...) FARM_AT(param_str(__VA_ARGS__))
#define param_u64(...) FARM_AT(param_u64(__VA_ARGS__))
#define param_errno(...) FARM_AT(param_errno(__VA_ARGS__))
#define param_is(...) FARM_AT(param_is(__VA_ARGS__))
#define info(...) FARM_AT(info(__VA_ARGS__))
#define sample(...) FARM_AT(sample(__VA_ARGS__))
#define sample_of(...) FARM_AT(sample_of(__VA_ARGS__))
#define window_begin(...) FARM_AT(window_begin(__VA_ARGS__))
#define window_end(...) FARM_AT(window_end(__VA_ARGS__))
#define spawn(...) FARM_AT(spawn(__VA_ARGS__))
#define join(...) FARM_AT(join(__VA_ARGS__))
#define shared_memory(...) FARM_AT(shared_memory(__VA_ARGS__))
#define write_file(...) FARM_AT(write_file(__VA_ARGS__))
#endif

#include "dmabuf.h"
#include "drm.h"
#include "v4l2.h"

#endif
