/* SPDX-License-Identifier: MIT */
/* Cases that test the harness itself: each ends in a way of its own. */
#include "farm.h"
#include "counter.h"
#include "stress.h"
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

CASE(self_pass, "Passes, and says the parameter that it was given",
     .params = "word=hello number=42 must=")
{
	info("word", "%s", param_str("word"));
	info("number", "%llu", (unsigned long long)param_u64("number"));
	if (param_is("word", "must"))
		info("must", "%s", param_str("must"));
}

CASE(self_fail, "Fails with a reason that has a line break and a byte that is no ASCII")
{
	int seen = 2;

	check(seen == 1, "saw %d\nexpected \xff 1", seen);
}

CASE(self_skip, "Skips")
{
	skip("nothing here to test");
}

CASE(self_two_cpus, "Runs where two processes can run at the same time", .needs = "smp")
{
	check(sysconf(_SC_NPROCESSORS_ONLN) > 1, "there is one CPU");
}

CASE(self_broken, "Says that the test itself broke")
{
	broken("no control was above zero");
}

CASE(self_samples, "Samples values and two windows", .params = "count=2")
{
	uint64_t count = param_u64("count");

	sample("latency", 0.1, "us", "wake");
	for (uint64_t i = 0; i < count; i++)
		sample("step", (double)i * 1000000, "count", "loop");
	window_begin();
	write_file("/dev/null", "x");
	window_end("first");
	window_begin();
	window_end("again");
}

CASE(self_clock, "Reads the clock while the system call for it fails")
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = filter };
	uint64_t before = now_ns();

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs: %s", errname(errno));
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp: %s",
	      errname(errno));
	check(now_ns() >= before, "the clock is read by a system call");
}

CASE(self_crash, "Dies of a segmentation fault, after a sample")
{
	volatile int *nowhere = (int *)8;

	sample("before", 1, "count", "crash");
	*nowhere = 1;
}

CASE(self_abort, "Aborts after a sample")
{
	sample("before", 1, "count", "crash");
	abort();
}

/* Whoever reads the fifo sees three bytes come, and its end when the last of the three is gone. */
CASE(self_hang, "Never returns, nor do two processes of it, one of them in a session of its own",
     .timeout_ms = 2000, .params = "fifo=/dev/null")
{
	int fifo = open(param_str("fifo"), O_WRONLY);

	check(fifo >= 0, "%s: %s", param_str("fifo"), errname(errno));
	sample("before", 1, "count", "hang");
	if (fork() == 0 && fork() == 0)
		setsid();
	check(write(fifo, "x", 1) == 1, "write: %s", errname(errno));
	for (;;)
		pause();
}

CASE(self_leak, "Leaves a file descriptor open")
{
	check(open("/dev/zero", O_RDONLY) >= 0, "open");
}

CASE(self_rubbish, "Prints lines that look like results, and bytes that are no text")
{
	static const char noise[] = "\x00\x1b[2J\xff\xfe\r\n";

	puts("ok 1 self_rubbish");
	puts("# end id=1 samples=0");
	fwrite(noise, 1, sizeof(noise) - 1, stdout);
	fputs("a line without an end", stderr);
}

CASE(self_flood, "Prints more than the harness keeps", .params = "kib=256")
{
	char line[1024];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (uint64_t i = 0; i < param_u64("kib"); i++)
		fwrite(line, 1, sizeof(line), stdout);
}

CASE(self_exit, "Exits with status 0 before its verdict")
{
	exit(0);
}

CASE(self_orphan, "Leaves a grandchild that left its process group")
{
	int ready[2];
	pid_t child;
	char byte;

	check(!pipe(ready), "pipe");
	child = fork();
	if (child == 0) {
		if (fork() == 0) {
			setsid();
			if (write(ready[1], "x", 1) == 1)
				pause();
		}
		_exit(0);
	}
	close(ready[1]);
	check(read(ready[0], &byte, 1) == 1, "the grandchild never came up");
	check(waitpid(child, NULL, 0) == child, "waitpid");
	close(ready[0]);
}

static void spawned_fail(void *arg)
{
	check(!arg, "a spawned process says no");
}

CASE(self_spawn, "Joins one process that is content, one that is killed and one that fails")
{
	static int flag;
	pid_t asleep;

	join(spawn(spawned_fail, NULL));
	asleep = spawn((void (*)(void *))(void *)pause, NULL);
	kill_and_reap(asleep);
	join(spawn(spawned_fail, &flag));
	broken("join() returned");
}

static void *thread_main(void *arg)
{
	sample("thread", *(int *)arg, "count", "threads");
	return NULL;
}

CASE(self_threads, "Samples from four threads")
{
	static int numbers[4];
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		numbers[i] = i;
		check(!pthread_create(&threads[i], NULL, thread_main, &numbers[i]), "pthread_create");
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void stress_main(struct worker *worker)
{
	const uint64_t *trap = worker->arg;

	while (next_round(worker)) {
		uint32_t one = decide(worker, 10), other = decide(worker, 1000);

		worker->operations++;
		check(!*trap || other != *trap, "worker %u decided %u after %u in round %llu",
		      worker->number, other, one, (unsigned long long)worker->rounds);
	}
}

CASE(self_stress, "Stresses nothing, and fails where a worker decides for the trap (1 … 999)",
     .params = "seed=1 ms=50 rounds=0 workers=4 as=threads trap=0")
{
	unsigned int workers = (unsigned int)param_u64("workers");
	uint64_t trap = param_u64("trap");

	if (param_is("as", "threads"))
		stress_threads(workers, stress_main, &trap);
	else
		stress_processes(workers, stress_main, &trap);
}

CASE(self_trace, "Tells what one line of dma:dma_map_sg says", .params = "line=")
{
	struct dma_map map = dma_map_parse(param_str("line"));

	info("device", "[%s]", map.device);
	info("counts", "%u %u %u", map.entries, map.segments, map.listed);
	info("range", "%#llx %llu %llu", (unsigned long long)map.address,
	     (unsigned long long)map.bytes, (unsigned long long)map.largest);
	info("contiguous", "%s", map.contiguous ? "yes" : "no");
}

CASE(self_format, "Tells whether records of the event whose format is in a file have a bound", .params = "file=")
{
	char format[4096];

	check(read_file_raw(param_str("file"), format, sizeof(format)) > 0, "nothing to read");
	info("bound", "%s", tracepoint_is_unbounded(format) ? "no" : "yes");
}

CASE(self_window, "Opens a window inside a window")
{
	window_begin();
	window_begin();
}

CASE(self_overflow, "Tells more than the harness keeps")
{
	for (int i = 0; i < 100000; i++)
		sample("many", i, "count", "loop");
}
