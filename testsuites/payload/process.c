/* SPDX-License-Identifier: MIT */
/*
 * A case's process: forked, given its case, followed to its end, reaped with all that it started.
 *
 * It leads a process group of its own and has a time limit; whatever it leaves behind is found,
 * because this process is the reaper of its descendants, and killed.
 *
 * It may be forked before its case is known, and then waits for that on its stdin: a fork takes a
 * large part of the time of a case that does little.
 */
#include "runner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
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
#define ORDER_BYTES_MAX (32u << 10)
#define REAP_MS 3000		/* how long a killed process may take to go */

static int null_fd = -1;

void process_init(void)
{
	struct rlimit files;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* --- its life -------------------------------------------------------------------------------------- */

/* What a process is to do, as it goes through the pipe: the fields, then the strings. */
struct order {
	const struct farm_case *test;
	struct report *report;
	size_t param_count, used;
	char strings[ORDER_BYTES_MAX];	/* id, name, parameters */
};

/* The next case's process, forked ahead; pid 0: none. */
static struct process ahead;
static int order_fd;

static bool add_string(struct order *order, const char *string)
{
	size_t size = strlen(string) + 1;

	if (size > sizeof(order->strings) - order->used)
		return false;
	memcpy(order->strings + order->used, string, size);
	order->used += size;
	return true;
}

static int give_order(const struct farm_case *test, const struct run_request *request,
		      struct report *report)
{
	static struct order order;
	bool fits;
	size_t size;

	order.test = test;
	order.report = report;
	order.param_count = request->param_count;
	order.used = 0;
	fits = add_string(&order, request->id) && add_string(&order, request->name);
	for (size_t i = 0; fits && i < request->param_count; i++)
		fits = add_string(&order, request->params[i]);
	if (!fits)
		return -E2BIG;
	size = offsetof(struct order, strings) + order.used;
	return write(order_fd, &order, size) == (ssize_t)size ? 0 : -errno;
}

/* Waits for the order; there is none when the harness is gone or wants this process no more. */
static const struct order *await_order(void)
{
	static struct order order;
	size_t got = 0;

	while (got < offsetof(struct order, strings) ||
	       got < offsetof(struct order, strings) + order.used) {
		ssize_t more = read(STDIN_FILENO, (char *)&order + got, sizeof(order) - got);

		if (more <= 0)
			_exit(1);
		got += (size_t)more;
	}
	return &order;
}

static _Noreturn void obey(const struct order *order)
{
	static struct run_request request;
	const char *next = order->strings;

	request.id = next;
	next += strlen(next) + 1;
	request.name = next;
	for (size_t i = 0; i < order->param_count; i++) {
		next += strlen(next) + 1;
		request.params[request.param_count++] = (char *)next;
	}
	case_main(order->test, &request, order->report);
}

static _Noreturn void child_main(pid_t parent, const int order_ends[2], const int output_ends[2])
{
	const struct order *order;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	dup2(order_ends[0], STDIN_FILENO);
	dup2(output_ends[1], STDOUT_FILENO);
	dup2(output_ends[1], STDERR_FILENO);
	for (int i = 0; i < 2; i++) {
		close(order_ends[i]);
		close(output_ends[i]);
	}
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	case_prepare();
	order = await_order();
	dup2(null_fd, STDIN_FILENO);
	obey(order);
}

static void close_both(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

/* Forks a process that awaits its order. */
static int fork_ahead(void)
{
	int order_ends[2], output_ends[2], err;
	pid_t parent = getpid();

	if (pipe2(order_ends, O_CLOEXEC))
		return -errno;
	if (pipe2(output_ends, O_CLOEXEC)) {
		err = -errno;
		close_both(order_ends);
		return err;
	}
	fflush(NULL);
	ahead = (struct process){ .pid = fork(), .output_fd = output_ends[0] };
	if (!ahead.pid)
		child_main(parent, order_ends, output_ends);
	err = ahead.pid < 0 ? -errno : 0;
	close(order_ends[0]);
	close(output_ends[1]);
	order_fd = order_ends[1];
	if (!err) {
		setpgid(ahead.pid, ahead.pid);
		fcntl(ahead.output_fd, F_SETFL, O_NONBLOCK);
		ahead.pidfd = (int)syscall(SYS_pidfd_open, ahead.pid, 0);
		if (ahead.pidfd >= 0)
			return 0;
		err = -errno;
		kill(ahead.pid, SIGKILL);
		waitpid(ahead.pid, NULL, 0);
	}
	close(ahead.output_fd);
	close(order_fd);
	ahead.pid = 0;
	return err;
}

void process_prepare(void)
{
	if (!ahead.pid)
		fork_ahead();	/* a failure shows when the process is needed */
}

void process_forget(void)
{
	if (!ahead.pid)
		return;
	kill(ahead.pid, SIGKILL);
	waitpid(ahead.pid, NULL, 0);
	close(ahead.output_fd);
	close(ahead.pidfd);
	close(order_fd);
	ahead.pid = 0;
}

int process_start(struct process *process, const struct farm_case *test,
		  const struct run_request *request, struct report *report)
{
	bool fresh = !ahead.pid;
	int err = fresh ? fork_ahead() : 0;

	if (!err)
		err = give_order(test, request, report);
	if (err == -EPIPE && !fresh) {	/* something killed it while it waited */
		process_forget();
		return process_start(process, test, request, report);
	}
	if (err) {
		process_forget();
		return err;
	}
	close(order_fd);
	*process = ahead;
	ahead.pid = 0;
	return 0;
}

/* Keeps the first bytes of what the case prints and counts the rest; false at the end of it. */
static bool drain_output(struct process *process)
{
	char bytes[4096];
	ssize_t got;

	while ((got = read(process->output_fd, bytes, sizeof(bytes))) > 0) {
		size_t room = OUTPUT_BYTES_MAX - process->output.used;
		size_t kept = (size_t)got < room ? (size_t)got : room;

		text_add_bytes(&process->output, bytes, kept);
		process->output_lost += (size_t)got - kept;
	}
	return got < 0;
}

void process_follow(struct process *process, unsigned int limit_ms, struct watch *watch)
{
	uint64_t deadline = now_ns() + (uint64_t)limit_ms * 1000000;
	bool output_open = true;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = process->pidfd, .events = POLLIN },
			{ .fd = output_open ? process->output_fd : -1, .events = POLLIN },
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
			output_open = drain_output(process);
		if (fds[2].revents && !watch->readable(watch)) {
			process->stopped = true;
			return;
		}
		if (fds[0].revents)
			return;
		if (now_ns() >= deadline) {
			process->timed_out = true;
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

int process_reap(struct process *process)
{
	struct patience patience = { .left_ns = REAP_MS * 1000000ull };
	int survivors = 0;
	bool child_gone = false;

	if (process->stopped || process->timed_out)
		kill(-process->pid, SIGKILL);
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid < 0)
			return survivors;	/* ECHILD: nobody is left */
		if (pid == process->pid) {
			process->status = status;
			child_gone = true;
			/* Its group may outlive it; the number is not reused while a member lives. */
			kill(-process->pid, SIGKILL);
		} else if (pid > 0) {
			survivors += !is_stuck(pid) && WIFSIGNALED(status) &&
				     WTERMSIG(status) == SIGKILL;
		} else {
			if (child_gone && each_child(kill_child) == 0)
				return survivors;
			if (!patience.left_ns) {
				each_child(note_stuck);
				return -1;
			}
			patience_wait(&patience, 1000);
		}
	}
}

void process_close(struct process *process)
{
	drain_output(process);
	close(process->output_fd);
	close(process->pidfd);
}
