/* SPDX-License-Identifier: MIT */
/*
 * A case's process: forked, followed to its end, reaped with all that it started.
 *
 * It leads a process group of its own and has a time limit; whatever it leaves behind is found,
 * because this process is the reaper of its descendants, and killed.
 */
#include "runner.h"

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

static _Noreturn void child_main(const struct process *process, const struct farm_case *test,
				 const struct run_request *request, struct report *report,
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
	close(process->output_fd);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	case_main(test, request, report);
}

int process_start(struct process *process, const struct farm_case *test,
		  const struct run_request *request, struct report *report)
{
	pid_t parent = getpid();
	int ends[2];

	*process = (struct process){ .pidfd = -1 };
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	process->output_fd = ends[0];
	fflush(NULL);
	process->pid = fork();
	if (process->pid < 0) {
		int err = -errno;

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (!process->pid)
		child_main(process, test, request, report, ends[1], parent);
	close(ends[1]);
	setpgid(process->pid, process->pid);
	fcntl(process->output_fd, F_SETFL, O_NONBLOCK);
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	if (process->pidfd < 0) {
		int err = -errno;

		kill(process->pid, SIGKILL);
		waitpid(process->pid, NULL, 0);
		close(process->output_fd);
		return err;
	}
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
	uint64_t deadline = now_ns() + REAP_MS * 1000000ull;
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
			if (now_ns() > deadline) {
				each_child(note_stuck);
				return -1;
			}
			sleep_ms(1);
		}
	}
}

void process_close(struct process *process)
{
	drain_output(process);
	close(process->output_fd);
	close(process->pidfd);
}
