/* SPDX-License-Identifier: MIT */
/*
 * Runs one case in a forked child and writes its block.
 *
 * The child leads a process group of its own and has a time limit; whatever it leaves behind is
 * found, because this process is the reaper of its descendants, and killed.
 */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_BYTES_MAX (64u << 10)
#define OUTPUT_LINE_MAX 1000u
#define REAP_MS 3000		/* how long a killed process may take to go */

static struct report *report;
static int null_fd = -1;

struct ending {
	enum farm_outcome outcome;
	bool timed_out;
	char reason[REASON_MAX_BYTES];
	const char *detail;
};

struct child {
	const struct farm_case *test;
	pid_t pid;
	int pidfd;
	int output_fd;
	struct text output;
	size_t output_lost;
	int status;
	bool stopped;		/* the watch said stop */
	bool timed_out;
	unsigned int limit_ms;
};

void runner_init(void)
{
	struct rlimit files;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	report = report_new();
	kmsg_open();
	case_note_harness_fds();
}

/* --- the child's life ------------------------------------------------------------------------------ */

static _Noreturn void child_main(const struct child *child, const struct run_request *request,
				 int output, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	dup2(null_fd, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	close(output);
	close(child->output_fd);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	case_main(child->test, request, report);
}

static int start(struct child *child, const struct run_request *request)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	child->output_fd = ends[0];
	fflush(NULL);
	child->pid = fork();
	if (child->pid < 0) {
		int err = -errno;

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (!child->pid)
		child_main(child, request, ends[1], parent);
	close(ends[1]);
	setpgid(child->pid, child->pid);
	fcntl(child->output_fd, F_SETFL, O_NONBLOCK);
	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pidfd < 0) {
		int err = -errno;

		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
		close(child->output_fd);
		return err;
	}
	return 0;
}

/* Keeps the first bytes of what the case prints and counts the rest; false at the end of it. */
static bool drain_output(struct child *child)
{
	char bytes[4096];
	ssize_t got;

	while ((got = read(child->output_fd, bytes, sizeof(bytes))) > 0) {
		size_t room = OUTPUT_BYTES_MAX - child->output.used;
		size_t kept = (size_t)got < room ? (size_t)got : room;

		text_add_bytes(&child->output, bytes, kept);
		child->output_lost += (size_t)got - kept;
	}
	return got < 0;
}

/* Waits until the child is gone, its time is over or the watch says stop. */
static void follow(struct child *child, struct watch *watch)
{
	uint64_t deadline = now_ns() + (uint64_t)child->limit_ms * 1000000;
	bool output_open = true;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = child->pidfd, .events = POLLIN },
			{ .fd = output_open ? child->output_fd : -1, .events = POLLIN },
			{ .fd = watch->fd, .events = POLLIN },
		};
		uint64_t now = now_ns();
		struct timespec left = { 0 };

		if (now < deadline) {
			left.tv_sec = (time_t)((deadline - now) / 1000000000);
			left.tv_nsec = (long)((deadline - now) % 1000000000);
		}
		if (ppoll(fds, ARRAY_SIZE(fds), &left, NULL) < 0)
			continue;
		if (fds[1].revents)
			output_open = drain_output(child);
		if (fds[2].revents && !watch->readable(watch)) {
			child->stopped = true;
			return;
		}
		if (fds[0].revents)
			return;
		if (now_ns() >= deadline) {
			child->timed_out = true;
			return;
		}
	}
}

/* --- the end of everything that the case started --------------------------------------------------- */

/* Processes of earlier cases that did not die; they are none of the later cases' business. */
static pid_t stuck[16];
static size_t stuck_count;

static bool is_stuck(pid_t pid)
{
	for (size_t i = 0; i < stuck_count; i++)
		if (stuck[i] == pid)
			return true;
	return false;
}

/* Calls visit for each living child but the stuck ones; how many, or -1 where /proc does not tell. */
static int each_child(void (*visit)(pid_t pid))
{
	char path[64], text[4096], *save = NULL;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	if (read_file_raw(path, text, sizeof(text)) < 0)
		return -1;
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		pid_t pid = (pid_t)atoi(word);

		if (!is_stuck(pid)) {
			visit(pid);
			count++;
		}
	}
	return count;
}

static void kill_child(pid_t pid)
{
	kill(pid, SIGKILL);
}

static void note_stuck(pid_t pid)
{
	if (stuck_count < ARRAY_SIZE(stuck))
		stuck[stuck_count++] = pid;
}

/*
 * Kills the child's group and all descendants that came to us as orphans, and reaps them. Returns
 * how many were still alive besides the child, or -1 if one does not go.
 */
static int reap_all(struct child *child)
{
	uint64_t deadline = now_ns() + REAP_MS * 1000000ull;
	int survivors = 0;
	bool child_gone = false;

	if (child->stopped || child->timed_out)
		kill(-child->pid, SIGKILL);
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid < 0)
			return survivors;	/* ECHILD: nobody is left */
		if (pid == child->pid) {
			child->status = status;
			child_gone = true;
			/* Its group may outlive it; the number is not reused while a member lives. */
			kill(-child->pid, SIGKILL);
		} else if (pid > 0) {
			survivors += !is_stuck(pid) && WIFSIGNALED(status) &&
				     WTERMSIG(status) == SIGKILL;
		} else {
			if (child_gone && each_child(kill_child) == 0)
				return survivors;
			if (now_ns() > deadline) {
				each_child(note_stuck);
				return -1;
			}
			sleep_ms(1);
		}
	}
}

/* --- the block ------------------------------------------------------------------------------------- */

static void conclude(const struct child *child, int survivors, struct ending *end)
{
	enum farm_outcome told = report_outcome(report);

	end->outcome = told;
	end->detail = "";
	report_reason(report, end->reason, sizeof(end->reason));
	if (child->timed_out) {
		end->timed_out = true;
		end->detail = "limit";
		snprintf(end->reason, sizeof(end->reason), "exceeded its limit of %u ms%s",
			 child->limit_ms, survivors < 0 ? ", and a process of it does not die" : "");
	} else if (WIFSIGNALED(child->status) && (told == FARM_NONE || told == FARM_PASS)) {
		end->outcome = FARM_ERROR;
		end->detail = "crash";
		snprintf(end->reason, sizeof(end->reason), "crashed: %s",
			 signal_name(WTERMSIG(child->status)));
	} else if (told == FARM_NONE) {
		end->outcome = FARM_ERROR;
		end->detail = "exit";
		snprintf(end->reason, sizeof(end->reason), "exited with status %d before its verdict",
			 WEXITSTATUS(child->status));
	} else if (told == FARM_PASS && survivors) {
		end->outcome = FARM_ERROR;
		end->detail = "process";
		if (survivors < 0)
			snprintf(end->reason, sizeof(end->reason), "left a process that does not die");
		else
			snprintf(end->reason, sizeof(end->reason), "left %d process%s running", survivors,
				 survivors > 1 ? "es" : "");
	} else if (told == FARM_PASS && !report_complete(report)) {
		end->outcome = FARM_ERROR;
		end->detail = "records";
		snprintf(end->reason, sizeof(end->reason), "told more than the harness can keep");
	}
}

static void write_header(struct text *out, const struct farm_case *test,
			 const struct run_request *request)
{
	text_add(out, "KTAP version 1\n1..1\n# case name=%s id=%s hash=%s\n", request->name,
		 request->id, case_hash(test));
}

static void write_output(struct text *out, const struct child *child)
{
	const char *line = child->output.bytes, *end = line + child->output.used;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;

		text_add(out, "# output ");
		text_add_escaped(out, line, (size_t)(stop - line), OUTPUT_LINE_MAX);
		text_add(out, "\n");
		line = stop + 1;
	}
	if (child->output_lost)
		text_add(out, "# output [%zu bytes more]\n", child->output_lost);
}

/*
 * Why counters are absent from this block; empty for those that counted everywhere. Counters of one
 * name are absent together, as a sum over some of them would be too little: the first has the reason.
 */
static char absences[COUNTERS_MAX][REASON_MAX_BYTES];
static bool any_lost;	/* one that counts is absent from this block */

static void note_absence(size_t counter, const char *reason)
{
	char *known = absences[counter_first(counter)];

	if (!*known)
		snprintf(known, REASON_MAX_BYTES, "%s", reason);
}

static const char *absence_of(size_t counter)
{
	return absences[counter_first(counter)];
}

/*
 * A counter that could not be trusted in one window is absent from the whole block: what the other
 * windows of the same phase counted would add up to too little.
 */
static void find_absences(const struct reading *begin, const struct reading *end)
{
	char text[REASON_MAX_BYTES * 2];
	enum record_kind kind;
	size_t cursor = 0, counter;

	any_lost = false;
	for (size_t i = 0; i < counters_count(); i++)
		absences[i][0] = '\0';
	for (size_t i = 0; i < counters_count(); i++) {
		size_t first = counter_first(i);
		char reason[REASON_MAX_BYTES];
		double value;

		any_lost |= first != i && (counter_absent(i) || counter_absent(first));
		if (counter_absent(i)) {
			note_absence(i, counter_absent(i));
		} else if (!counter_value(i, begin, end, &value, reason, sizeof(reason))) {
			any_lost = true;
			note_absence(i, reason);
		}
	}
	while (report_next(report, &cursor, &kind, text, sizeof(text))) {
		char *blank = strchr(text, ' ');

		if (kind == RECORD_ABSENT && blank) {
			*blank = '\0';
			any_lost = true;
			if (counter_find(text, &counter))
				note_absence(counter, blank + 1);
		}
	}
}

/* Whether "name=NAME …" is a sample of a counter that is absent. */
static bool is_of_absent(const char *sample)
{
	for (size_t i = 0; any_lost && i < counters_count(); i++) {
		size_t length = strlen(counter_name(i));

		if (*absence_of(i) && !strncmp(sample, "name=", 5) &&
		    !strncmp(sample + 5, counter_name(i), length) && sample[5 + length] == ' ')
			return true;
	}
	return false;
}

static void write_absence(struct text *out, const char *name, const char *reason)
{
	text_add(out, "# absent counter=%s reason=", name);
	text_add_escaped(out, reason, strlen(reason), REASON_MAX_BYTES);
	text_add(out, "\n");
}

/* What the case told, in its order; returns the number of samples. */
static size_t write_records(struct text *out)
{
	char text[REASON_MAX_BYTES * 2];
	enum record_kind kind;
	size_t cursor = 0, samples = 0;

	while (report_next(report, &cursor, &kind, text, sizeof(text))) {
		if (kind == RECORD_SAMPLE && !is_of_absent(text)) {
			text_add(out, "# sample ");
			text_add_escaped(out, text, strlen(text), sizeof(text));
			text_add(out, " seq=%zu\n", samples++);
		} else if (kind == RECORD_INFO) {
			text_add(out, "# info ");
			text_add_escaped(out, text, strlen(text), sizeof(text));
			text_add(out, "\n");
		} else if (kind == RECORD_ABSENT) {
			char *blank = strchr(text, ' ');
			size_t counter;

			if (!blank)
				continue;
			*blank = '\0';
			if (!counter_find(text, &counter))	/* else write_counters() says it */
				write_absence(out, text, blank + 1);
		}
	}
	return samples;
}

static size_t write_counters(struct text *out, const struct run_request *request,
			     const struct reading *begin, const struct reading *end, size_t samples)
{
	text_add(out, "# sample name=wall value=%llu unit=ns phase=case seq=%zu\n",
		 (unsigned long long)(end->wall_ns - begin->wall_ns), samples++);
	for (size_t i = 0; i < counters_count(); i++) {
		char reason[REASON_MAX_BYTES], number[32];
		double value;

		if (*absence_of(i)) {
			if (counter_first(i) == i && !(request->absences_told && counter_absent(i)))
				write_absence(out, counter_name(i), absence_of(i));
		} else if (counter_value(i, begin, end, &value, reason, sizeof(reason))) {
			format_number(value, number, sizeof(number));
			text_add(out, "# sample name=%s value=%s unit=%s phase=case%s%s seq=%zu\n",
				 counter_name(i), number, counter_unit(i),
				 *counter_of(i) ? " of=" : "", counter_of(i), samples++);
		}
	}
	return samples;
}

static void write_verdict(struct text *out, const struct run_request *request,
			  const struct ending *end, size_t samples)
{
	static const char *const words[] = {
		[FARM_NONE] = "error", [FARM_PASS] = "pass",   [FARM_FAIL] = "fail",
		[FARM_SKIP] = "skip",  [FARM_ERROR] = "error",
	};
	bool ok = !end->timed_out && (end->outcome == FARM_PASS || end->outcome == FARM_SKIP);

	text_add(out, "%s 1 %s", ok ? "ok" : "not ok", request->name);
	if (ok && end->outcome == FARM_SKIP)
		text_add(out, " # SKIP ");
	else if (!ok)
		text_add(out, " # ");
	if (!ok || end->outcome == FARM_SKIP)
		text_add_escaped(out, end->reason, strlen(end->reason), sizeof(end->reason));
	text_add(out, "\n# outcome %s%s%s\n# end id=%s samples=%zu\n",
		 end->timed_out ? "timeout" : words[end->outcome], *end->detail ? " " : "",
		 end->detail, request->id, samples);
}

static bool refuse(struct text *out, const struct farm_case *test,
		   const struct run_request *request, enum farm_outcome *outcome, const char *reason,
		   const char *detail)
{
	struct ending end = { .outcome = FARM_ERROR, .detail = detail };

	snprintf(end.reason, sizeof(end.reason), "%s", reason);
	write_header(out, test, request);
	write_verdict(out, request, &end, 0);
	*outcome = FARM_ERROR;
	return true;
}

bool runner_run(const struct run_request *request, struct watch *watch, struct text *out,
		enum farm_outcome *outcome)
{
	static struct reading begin, end;
	struct child child = { .test = case_find(request->name), .pidfd = -1 };
	struct ending ending = { 0 };
	size_t samples;
	int err, survivors;

	if (!child.test)
		return refuse(out, NULL, request, outcome, "this payload has no such case", "unknown");
	child.limit_ms = request->timeout_ms ? request->timeout_ms : case_timeout_ms(child.test);
	kmsg_mark();
	counters_begin(&begin, SCOPE_CASE);
	err = start(&child, request);
	if (err) {
		snprintf(ending.reason, sizeof(ending.reason), "the harness could not start it: %s",
			 errname(err));
		return refuse(out, child.test, request, outcome, ending.reason, "harness");
	}
	follow(&child, watch);
	survivors = reap_all(&child);
	counters_end(&end, SCOPE_CASE);
	if (survivors >= 0)	/* what does not die still holds what it has */
		counters_settle(&begin, &end);
	drain_output(&child);
	close(child.output_fd);
	close(child.pidfd);
	if (!child.stopped) {
		conclude(&child, survivors, &ending);
		write_header(out, child.test, request);
		write_output(out, &child);
		find_absences(&begin, &end);
		samples = write_records(out);
		samples = write_counters(out, request, &begin, &end, samples);
		if (survivors >= 0)
			counters_write_leaks(&begin, &end, out);
		kmsg_report(out);
		write_verdict(out, request, &ending, samples);
		*outcome = ending.timed_out ? FARM_FAIL : ending.outcome;
	}
	free(child.output.bytes);
	if (survivors < 0)
		report = report_new();	/* what does not die must not write into the next report */
	else
		report_clear(report);
	return !child.stopped;
}
