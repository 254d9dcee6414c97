/* SPDX-License-Identifier: MIT */
/* What runs one case shares among its files. */
#ifndef FARM_RUNNER_H
#define FARM_RUNNER_H

#include "harness.h"

#include <sys/types.h>

/* --- process.c: the case's process, and whatever it leaves behind ---------------------------------- */

struct process {
	pid_t pid;
	int pidfd;
	int output_fd;
	struct text output;	/* the first bytes of what it printed */
	size_t output_lost;	/* how many more there were */
	int status;
	bool stopped;		/* the watch said stop */
	bool timed_out;
};

void process_init(void);
/* Forks the next case's process ahead, so that its case need not wait for that. */
void process_prepare(void);
/* Ends the process that was forked ahead: it would not have what changes in this one. */
void process_forget(void);
/* Gives the case to the process forked ahead, or to a new one; 0 or -errno. */
int process_start(struct process *process, const struct farm_case *test,
		  const struct run_request *request, struct report *report);
/* Waits until it is gone, its time is over or the watch says stop. */
void process_follow(struct process *process, unsigned int limit_ms, struct watch *watch);
/*
 * Kills its group and all descendants that came to us as orphans, and reaps them. Returns how many
 * were still alive besides it, or -1 if one does not go.
 */
int process_reap(struct process *process);
/* Takes the rest of what it printed, and closes its descriptors. */
void process_close(struct process *process);

/* --- block.c: a case's KTAP block ------------------------------------------------------------------ */

struct ending {
	enum farm_outcome outcome;
	bool timed_out;
	char reason[REASON_MAX_BYTES];
	const char *detail;
};

/* The block's first lines. */
void block_begin(struct text *out, const struct farm_case *test, const struct run_request *request);
/* What was printed, told and counted; returns the number of samples. */
size_t block_body(struct text *out, const struct run_request *request, const struct process *process,
		  const struct report *report, const struct reading *begin,
		  const struct reading *end);
/* Its last lines: the verdict. */
void block_end(struct text *out, const struct run_request *request, const struct ending *end,
	       size_t samples);

#endif
