/* SPDX-License-Identifier: MIT */
/* The case's side of the harness: everything here runs in the case's own process. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096

static const struct farm_case *test;
static const struct run_request *request;
static struct report *report;
static struct reading window_start;
static bool window_open;
static size_t fds_before;
static _Thread_local const char *at_file;
static _Thread_local int at_line;

/* The harness's own descriptors, one bit each; noted before the fork. */
static uint8_t harness_fds[FDS_MAX / 8];

/* --- verdicts -------------------------------------------------------------------------------------- */

static _Noreturn void leave(int status)
{
	fflush(NULL);
	_exit(status);
}

void farm_at(const char *file, int line)
{
	at_file = file;
	at_line = line;
}

void farm_end(enum farm_outcome outcome, const char *file, int line, const char *fmt, ...)
{
	char reason[REASON_MAX_BYTES];
	const char *base;
	va_list args;
	int used;

	va_start(args, fmt);
	used = vsnprintf(reason, sizeof(reason) - 64, fmt, args);
	va_end(args);
	if (used < 0)
		used = 0;
	if ((size_t)used > sizeof(reason) - 65)
		used = sizeof(reason) - 65;
	if (!file) {		/* a helper: the case's line is what the reader wants */
		file = at_file;
		line = at_line;
	}
	base = file ? strrchr(file, '/') : NULL;
	if (file && outcome != FARM_SKIP)
		snprintf(reason + used, sizeof(reason) - (size_t)used, " (%.48s:%d)",
			 base ? base + 1 : file, line);
	report_verdict(report, outcome, reason);
	leave(1);
}

/* --- parameters ------------------------------------------------------------------------------------ */

/* The value behind "key=" in one blank-separated word, or NULL. */
static const char *value_of(const char *word, const char *key)
{
	size_t length = strlen(key);

	return !strncmp(word, key, length) && word[length] == '=' ? word + length + 1 : NULL;
}

/* The default of a parameter that the case declares, decoded; NULL: the case takes no such one. */
static const char *declared(const char *key)
{
	static char defaults[1024];
	static char *words[PARAMS_MAX];
	static size_t count;

	if (!count && test->params) {
		char *save = NULL;

		if (strlen(test->params) >= sizeof(defaults))
			broken("the case declares more than %zu bytes of parameters", sizeof(defaults));
		strcpy(defaults, test->params);
		for (char *word = strtok_r(defaults, " ", &save); word && count < PARAMS_MAX;
		     word = strtok_r(NULL, " ", &save)) {
			if (!strchr(word, '=') || !percent_decode(word))
				broken("declared parameter '%s' is not key=value", word);
			words[count++] = word;
		}
	}
	for (size_t i = 0; i < count; i++) {
		const char *value = value_of(words[i], key);

		if (value)
			return value;
	}
	return NULL;
}

static void check_params(void)
{
	for (size_t i = 0; i < request->param_count; i++) {
		char key[NAME_MAX_BYTES];
		size_t length = strcspn(request->params[i], "=");

		snprintf(key, sizeof(key), "%.*s", (int)length, request->params[i]);
		if (!declared(key))
			broken("the case takes no parameter '%s', only: %s", key,
				 test->params ? test->params : "none");
	}
}

const char *param_str(const char *key)
{
	const char *value = declared(key);

	if (!value)
		broken("the case reads parameter '%s' but does not declare it", key);
	for (size_t i = 0; i < request->param_count; i++) {
		const char *given = value_of(request->params[i], key);

		if (given)
			value = given;
	}
	if (!*value)
		broken("parameter '%s' is missing", key);
	return value;
}

uint64_t param_u64(const char *key)
{
	const char *text = param_str(key);
	uint64_t value;

	if (!parse_u64(text, &value))
		broken("parameter %s=%s is not a number", key, text);
	return value;
}

int param_errno(const char *key)
{
	const char *value = declared(key);
	int err;

	if (!value)
		broken("the case reads parameter '%s' but does not declare it", key);
	for (size_t i = 0; i < request->param_count; i++) {
		const char *given = value_of(request->params[i], key);

		if (given)
			value = given;
	}
	if (!*value || !strcmp(value, "0"))
		return 0;
	err = errvalue(value);
	if (err < 0)
		broken("parameter %s=%s is not an errno's name", key, value);
	return err;
}

bool param_is(const char *key, const char *value)
{
	return !strcmp(param_str(key), value);
}

/* --- what the case tells --------------------------------------------------------------------------- */

void info(const char *key, const char *fmt, ...)
{
	char text[NAME_MAX_BYTES + REASON_MAX_BYTES];
	va_list args;
	int used;

	if (!is_token(key, "_.-") || strlen(key) >= NAME_MAX_BYTES)
		broken("info key '%.80s' is not a name", key);
	used = snprintf(text, sizeof(text), "%s ", key);
	va_start(args, fmt);
	vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, args);
	va_end(args);
	report_add(report, RECORD_INFO, text);
}

/* `of`: what it is of, where the name alone does not say; or "". */
static void add_sample(const char *name, double value, const char *unit, const char *phase,
		       const char *of)
{
	char text[320], number[32];

	format_number(value, number, sizeof(number));
	snprintf(text, sizeof(text), "name=%s value=%s unit=%s phase=%s%s%s", name, number, unit,
		 phase, *of ? " of=" : "", of);
	report_add(report, RECORD_SAMPLE, text);
}

void sample_of(const char *name, double value, const char *unit, const char *phase, const char *of)
{
	if (!is_token(name, "_.-") || strlen(name) >= NAME_MAX_BYTES)
		broken("sample name '%.80s' is not a name", name);
	if (!is_token(phase, "_.-") || strlen(phase) >= NAME_MAX_BYTES)
		broken("sample phase '%.80s' is not a name", phase);
	if (!is_token(unit, "_./%{}*") || strlen(unit) > 31)
		broken("sample unit '%.80s' is not a unit", unit);
	if (*of && (!is_token(of, "_.:-") || strlen(of) >= NAME_MAX_BYTES))
		broken("sample %s is of '%.80s', which is not a name", name, of);
	if (!isfinite(value))
		broken("sample %s in phase %s is not a finite number", name, phase);
	add_sample(name, value, unit, phase, of);
}

void sample(const char *name, double value, const char *unit, const char *phase)
{
	sample_of(name, value, unit, phase, "");
}

void sample_absent(const char *name, const char *fmt, ...)
{
	char text[REASON_MAX_BYTES];
	va_list args;
	int used = snprintf(text, sizeof(text), "%.63s ", name);

	va_start(args, fmt);
	vsnprintf(text + used, sizeof(text) - (size_t)used, fmt, args);
	va_end(args);
	report_add(report, RECORD_ABSENT, text);
}

bool in_window(void)
{
	return window_open;
}

void window_begin(void)
{
	if (window_open)
		broken("window_begin() inside a window");
	window_open = true;
	counters_begin(&window_start, SCOPE_WINDOW);
}

void window_end(const char *phase)
{
	static struct reading end;

	counters_end(&end, SCOPE_WINDOW);
	if (!window_open)
		broken("window_end(\"%.60s\") without window_begin()", phase);
	window_open = false;
	if (!is_token(phase, "_.-") || strlen(phase) >= NAME_MAX_BYTES || !strcmp(phase, "case"))
		broken("window phase '%.80s' is not a name, or is the harness's own", phase);

	add_sample("wall", (double)(end.wall_ns - window_start.wall_ns), "ns", phase, "");
	for (size_t i = 0; i < counters_count(); i++) {
		char reason[REASON_MAX_BYTES - NAME_MAX_BYTES];
		double value;

		if (counter_absent(i) || !counter_is_in(i, SCOPE_WINDOW))
			continue;
		if (counter_value(i, &window_start, &end, &value, reason, sizeof(reason)))
			add_sample(counter_name(i), value, counter_unit(i), phase, counter_of(i));
		else
			sample_absent(counter_name(i), "%s", reason);
	}
}

/* --- processes, files ------------------------------------------------------------------------------ */

void sleep_ms(unsigned int ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

void patience_wait(struct patience *patience, unsigned int us)
{
	const struct timespec pause = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
	uint64_t before = now_ns(), most = us * 10000ull, took;

	nanosleep(&pause, NULL);
	took = now_ns() - before;
	took = took < most ? took : most;
	patience->left_ns -= took < patience->left_ns ? took : patience->left_ns;
}

pid_t spawn(void (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		broken("fork: %s", errname(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	fn(arg);
	leave(0);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			broken("waitpid(%d): %s", (int)pid, errname(errno));
	return status;
}

void join(pid_t pid)
{
	int status = wait_for(pid);

	if (report_outcome(report) != FARM_NONE)
		leave(1);
	if (WIFSIGNALED(status))
		broken("process %d of the case died by %s", (int)pid, signal_name(WTERMSIG(status)));
	if (WEXITSTATUS(status))
		broken("process %d of the case exited with status %d", (int)pid, WEXITSTATUS(status));
}

void kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	wait_for(pid);
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		broken("no %zu bytes of shared memory: %s", size, errname(errno));
	return memory;
}

void shared_memory_free(void *memory, size_t size)
{
	munmap(memory, size);
}

int write_file_raw(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t wrote;
	int err;

	if (fd < 0)
		return -errno;
	wrote = write(fd, text, strlen(text));
	err = wrote < 0 ? -errno : 0;
	close(fd);
	return err;
}

void write_file(const char *path, const char *text)
{
	int err = write_file_raw(path, text);

	if (err)
		fail("writing '%s' to %s: %s", text, path, errname(err));
}

ssize_t read_file_raw(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got = 0;

	if (fd < 0)
		return -errno;
	while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)got;
	got = got < 0 ? -errno : (ssize_t)used;
	close(fd);
	text[used] = '\0';
	return got;
}

/* --- leaks ----------------------------------------------------------------------------------------- */

/* How many descriptors are open; 0 where the kernel does not tell (before 6.2). */
static size_t open_fd_count(void)
{
	struct stat status;

	return stat("/proc/self/fd", &status) ? 0 : (size_t)status.st_size;
}

/* Calls visit for every descriptor but the one that reads the folder. */
static void each_fd(void (*visit)(int fd, void *arg), void *arg)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);

		if (fd >= 0 && fd != dirfd(dir))
			visit(fd, arg);
	}
	closedir(dir);
}

static void note_fd(int fd, void *arg)
{
	(void)arg;
	if (fd < FDS_MAX)
		harness_fds[fd / 8] |= (uint8_t)(1u << (fd % 8));
}

void case_note_harness_fds(void)
{
	memset(harness_fds, 0, sizeof(harness_fds));
	each_fd(note_fd, NULL);
}

static void name_leak(int fd, void *arg)
{
	struct text *leaks = arg;
	char path[32], target[128];
	ssize_t length;

	if (fd <= STDERR_FILENO || (fd < FDS_MAX && harness_fds[fd / 8] & (1u << (fd % 8))))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target) - 1);
	target[length < 0 ? 0 : length] = '\0';
	text_add(leaks, "%s%d (%s)", leaks->used ? ", " : "", fd, target);
}

/* --- the whole of it ------------------------------------------------------------------------------- */

void case_prepare(void)
{
	fds_before = open_fd_count();
}

void case_main(const struct farm_case *run, const struct run_request *what, struct report *where)
{
	struct text leaks = { 0 };
	size_t after;

	test = run;
	request = what;
	report = where;
	check_params();
	test->run();
	farm_at(NULL, 0);
	if (window_open)
		broken("the case returned inside a window");

	after = open_fd_count();
	if (!fds_before || after != fds_before)
		each_fd(name_leak, &leaks);
	if (leaks.used)
		broken("the case left file descriptors open: %.300s", leaks.bytes);
	report_verdict(report, FARM_PASS, "");
	leave(0);
}
