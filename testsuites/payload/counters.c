/* SPDX-License-Identifier: MIT */
/*
 * Counters around a case: perf events on every CPU, and lines of /proc/interrupts.
 *
 * perf events count system-wide: on each CPU one group for each kind of event, opened once and read
 * with one system call (PERF_FORMAT_GROUP). Kinds are kept apart because the kernel (seen on 6.12)
 * may leave a member that is of another kind than its leader unscheduled, so that it counts 0 while
 * the group's times say that it ran. A count that the kernel multiplexed is given as absent.
 */
#include "harness.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP_MAX 32
#define HARDWARE_GROUP_MAX 6
#define GROUPS_MAX 16
#define CPUS_MAX 256
#define REASON_BYTES 256

enum source { SOURCE_NONE, SOURCE_PERF, SOURCE_IRQ };

struct counter {
	char name[NAME_MAX_BYTES];
	char absent[REASON_BYTES];	/* empty when it is open */
	char irq[NAME_MAX_BYTES];
	const char *unit;
	enum source source;
};

struct group {
	uint32_t type;
	size_t count;
	size_t counter[GROUP_MAX];
	int leader[CPUS_MAX];
};

static struct counter counters[COUNTERS_MAX];
static size_t counter_total;
static struct group *groups;
static size_t group_total;
static int *event_fds;		/* all of them, to be closed */
static size_t event_fd_total;
static int cpus[CPUS_MAX];
static size_t cpu_total;
static int interrupts_fd = -1;

size_t counters_count(void)
{
	return counter_total;
}

const char *counter_name(size_t index)
{
	return counters[index].name;
}

const char *counter_unit(size_t index)
{
	return counters[index].unit;
}

const char *counter_absent(size_t index)
{
	return counters[index].absent[0] ? counters[index].absent : NULL;
}

/* --- opening --------------------------------------------------------------------------------------- */

static void find_cpus(void)
{
	char text[1024];
	const char *next = text;

	cpu_total = 0;
	if (read_file_raw("/sys/devices/system/cpu/online", text, sizeof(text)) <= 0)
		strcpy(text, "0");
	while (*next >= '0' && *next <= '9') {
		char *end;
		unsigned long first = strtoul(next, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long cpu = first; cpu <= last && cpu_total < CPUS_MAX; cpu++)
			cpus[cpu_total++] = (int)cpu;
		next = *end == ',' ? end + 1 : end;
	}
}

static void close_all(void)
{
	for (size_t i = 0; i < event_fd_total; i++)
		close(event_fds[i]);
	event_fd_total = 0;
	group_total = 0;
	counter_total = 0;
	memset(counters, 0, sizeof(counters));
	if (interrupts_fd >= 0)
		close(interrupts_fd);
	interrupts_fd = -1;
}

static int perf_open(struct perf_event_attr *attr, int cpu, int leader)
{
	return (int)syscall(SYS_perf_event_open, attr, -1, cpu, leader, PERF_FLAG_FD_CLOEXEC);
}

/* Opens one event on every CPU as a member of a group; 0 or -errno, with nothing left open. */
static int join_group(struct group *group, struct perf_event_attr *attr)
{
	size_t first_fd = event_fd_total;

	attr->disabled = !group->count;	/* the leader starts all of them: start_groups() */
	for (size_t i = 0; i < cpu_total; i++) {
		int fd = perf_open(attr, cpus[i], group->count ? group->leader[i] : -1);

		if (fd < 0) {
			int err = errno;

			while (event_fd_total > first_fd)
				close(event_fds[--event_fd_total]);
			return -err;
		}
		event_fds[event_fd_total++] = fd;
		if (!group->count)
			group->leader[i] = fd;
	}
	return 0;
}

/* Puts the event into the last group of its kind, or a new one if that takes no more. */
static int open_event(size_t index, struct perf_event_attr *attr)
{
	size_t limit = attr->type == PERF_TYPE_HARDWARE ? HARDWARE_GROUP_MAX : GROUP_MAX;
	struct group *group = NULL;
	int err = -EINVAL;

	attr->size = sizeof(*attr);
	attr->read_format = PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED |
			    PERF_FORMAT_TOTAL_TIME_RUNNING;
	for (size_t i = 0; i < group_total; i++)
		if (groups[i].type == attr->type && groups[i].count < limit)
			group = &groups[i];
	if (group)
		err = join_group(group, attr);
	if (err == -EINVAL || err == -ENOSPC) {
		if (group_total == GROUPS_MAX)
			return -ENOSPC;
		group = &groups[group_total];
		group->type = attr->type;
		group->count = 0;
		err = join_group(group, attr);
		if (!err)
			group_total++;
	}
	if (!err)
		group->counter[group->count++] = index;
	return err;
}

static void set_absent(struct counter *counter, const char *fmt, ...) FARM_PRINTF(2, 3);
static void set_absent(struct counter *counter, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(counter->absent, sizeof(counter->absent), fmt, args);
	va_end(args);
}

static void perf_absent(struct counter *counter, int err, const char *what)
{
	const char *hint = "";

	if (err == -EACCES || err == -EPERM)
		hint = " (needs root, or a lower kernel.perf_event_paranoid)";
	else if (err == -ENOENT || err == -EOPNOTSUPP || err == -ENODEV)
		hint = " (this kernel and CPU have no such event)";
	set_absent(counter, "perf_event_open for %.80s: %s%s", what, errname(err), hint);
}

static void open_tracepoint(size_t index, const char *event)
{
	struct counter *counter = &counters[index];
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT };
	char path[256], text[32], system[NAME_MAX_BYTES];
	const char *colon = strchr(event, ':');
	static const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	ssize_t got = -ENOENT;
	int err;

	if (!colon || colon == event || colon - event >= NAME_MAX_BYTES ||
	    !is_token(event, "_-:") || !is_token(colon + 1, "_-")) {
		set_absent(counter, "'tp:%.80s' is not tp:SYSTEM:EVENT", event);
		return;
	}
	snprintf(system, sizeof(system), "%.*s", (int)(colon - event), event);
	if (access("/sys/kernel/tracing/events", F_OK) &&
	    access("/sys/kernel/debug/tracing/events", F_OK)) {
		set_absent(counter, "tracefs at /sys/kernel/tracing: %s", errname(errno));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(roots) && got < 0; i++) {
		snprintf(path, sizeof(path), "%s/events/%s/%.64s/id", roots[i], system, colon + 1);
		got = read_file_raw(path, text, sizeof(text));
	}
	if (got <= 0) {
		set_absent(counter, "this kernel has no tracepoint %.120s: %s", event,
			   errname((int)got));
		return;
	}
	attr.config = strtoull(text, NULL, 10);
	err = open_event(index, &attr);
	if (err)
		perf_absent(counter, err, event);
}

static void open_kprobe(size_t index, const char *function)
{
	struct counter *counter = &counters[index];
	struct perf_event_attr attr = { 0 };
	char text[32];
	int err;

	if (!is_token(function, "_.")) {
		set_absent(counter, "'kprobe:%.80s' is not kprobe:FUNCTION", function);
		return;
	}
	if (read_file_raw("/sys/bus/event_source/devices/kprobe/type", text, sizeof(text)) <= 0) {
		set_absent(counter, "this kernel has no kprobe events (CONFIG_KPROBE_EVENTS)");
		return;
	}
	attr.type = (uint32_t)strtoul(text, NULL, 10);
	attr.config1 = (uintptr_t)function;	/* kprobe_func; config2: offset 0 */
	err = open_event(index, &attr);
	if (err == -ENOENT || err == -EADDRNOTAVAIL || err == -EINVAL)
		set_absent(counter, "this kernel has no function %.80s to probe: %s", function,
			   errname(err));
	else if (err)
		perf_absent(counter, err, function);
}

static void open_numbered(size_t index, const char *number, uint32_t type)
{
	struct counter *counter = &counters[index];
	struct perf_event_attr attr = { .type = type };
	uint64_t config;
	char what[48];
	int err;

	if (!parse_u64(number, &config)) {
		set_absent(counter, "'%.80s' is not a perf config number", number);
		return;
	}
	attr.config = config;
	err = open_event(index, &attr);
	snprintf(what, sizeof(what), "%s event %llu",
		 type == PERF_TYPE_HARDWARE ? "hardware" : "software", (unsigned long long)config);
	if (err)
		perf_absent(counter, err, what);
}

/* --- /proc/interrupts ------------------------------------------------------------------------------ */

static ssize_t read_interrupts(char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;

	while (used < size - 1 &&
	       (got = pread(interrupts_fd, text + used, size - 1 - used, (off_t)used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	return (ssize_t)used;
}

/* Adds up the per-CPU columns of one line, which is cut up on the way. */
static uint64_t line_total(char *line)
{
	char *next = strchr(line, ':');
	uint64_t total = 0;

	for (size_t cpu = 0; next && cpu < CPUS_MAX; cpu++) {
		char *end;
		unsigned long long value = strtoull(next + (cpu ? 0 : 1), &end, 10);

		if (end == next + (cpu ? 0 : 1) || (*end != ' ' && *end))
			break;
		total += value;
		next = end;
	}
	return total;
}

static void count_interrupts(uint64_t *totals, bool *found)
{
	static char text[64 << 10];
	char *save = NULL;

	if (read_interrupts(text, sizeof(text)) <= 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < counter_total; i++) {
			if (counters[i].source == SOURCE_IRQ && strstr(line, counters[i].irq)) {
				totals[i] += line_total(line);
				found[i] = true;
			}
		}
	}
}

static void open_irq(size_t index, const char *substring)
{
	struct counter *counter = &counters[index];
	uint64_t totals[COUNTERS_MAX] = { 0 };
	bool found[COUNTERS_MAX] = { false };

	if (!*substring || strlen(substring) >= sizeof(counter->irq)) {
		set_absent(counter, "'irq:%.80s' is not irq:SUBSTRING", substring);
		return;
	}
	if (interrupts_fd < 0)
		interrupts_fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	if (interrupts_fd < 0) {
		set_absent(counter, "open /proc/interrupts: %s", errname(errno));
		return;
	}
	strcpy(counter->irq, substring);
	counter->source = SOURCE_IRQ;
	count_interrupts(totals, found);
	if (!found[index])
		set_absent(counter, "no line of /proc/interrupts contains '%s'", substring);
}

/* --- specs ----------------------------------------------------------------------------------------- */

static void open_spec(size_t index, const char *source)
{
	struct counter *counter = &counters[index];

	counter->unit = "count";
	if (!strncmp(source, "tp:", 3))
		open_tracepoint(index, source + 3);
	else if (!strncmp(source, "kprobe:", 7))
		open_kprobe(index, source + 7);
	else if (!strncmp(source, "sw:", 3))
		open_numbered(index, source + 3, PERF_TYPE_SOFTWARE);
	else if (!strncmp(source, "hw:", 3))
		open_numbered(index, source + 3, PERF_TYPE_HARDWARE);
	else if (!strncmp(source, "irq:", 4))
		open_irq(index, source + 4);
	else
		set_absent(counter, "unknown source '%.80s', expected tp: kprobe: sw: hw: or irq:",
			   source);
	if (!counter->absent[0] && counter->source == SOURCE_NONE)
		counter->source = SOURCE_PERF;
}

/* Enables the leaders once their groups are whole, so that all members are scheduled together. */
static void start_groups(void)
{
	for (size_t i = 0; i < group_total; i++)
		for (size_t cpu = 0; cpu < cpu_total; cpu++)
			ioctl(groups[i].leader[cpu], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

static bool is_taken(const char *name)
{
	for (size_t i = 0; i < counter_total; i++)
		if (!strcmp(counters[i].name, name))
			return true;
	return !strcmp(name, "wall");	/* always sampled */
}

static void refuse_spec(struct text *out, const char *spec, const char *why)
{
	text_add(out, "error counter '");
	text_add_escaped(out, spec, strlen(spec), 80);
	text_add(out, "' %s\n", why);
}

void counters_open(char *const *specs, size_t count, struct text *out)
{
	close_all();
	find_cpus();
	if (!groups)
		groups = calloc(GROUPS_MAX, sizeof(*groups));
	event_fds = realloc(event_fds, sizeof(*event_fds) * COUNTERS_MAX * (cpu_total + 1));
	if (!groups || !event_fds)
		abort();

	for (size_t i = 0; i < count; i++) {
		char *equals = strchr(specs[i], '=');
		size_t length = equals ? (size_t)(equals - specs[i]) : 0;
		char name[NAME_MAX_BYTES];
		struct counter *counter;

		snprintf(name, sizeof(name), "%.*s", (int)length, specs[i]);
		if (!length || length >= NAME_MAX_BYTES || !is_token(name, "_.-")) {
			refuse_spec(out, specs[i], "is not NAME=SOURCE");
			continue;
		}
		if (is_taken(name)) {
			refuse_spec(out, specs[i], "has a name that is taken");
			continue;
		}
		if (counter_total == COUNTERS_MAX) {
			refuse_spec(out, specs[i], "is one too many");
			continue;
		}
		counter = &counters[counter_total];
		strcpy(counter->name, name);
		open_spec(counter_total++, equals + 1);
		text_add(out, "counter %s ", counter->name);
		if (counter->absent[0]) {
			text_add(out, "absent ");
			text_add_escaped(out, counter->absent, strlen(counter->absent), REASON_BYTES);
			text_add(out, "\n");
		} else {
			text_add(out, "ok\n");
		}
	}
	start_groups();
}

/* --- reading --------------------------------------------------------------------------------------- */

static void read_group(const struct group *group, struct reading *reading)
{
	uint64_t values[3 + GROUP_MAX];

	for (size_t cpu = 0; cpu < cpu_total; cpu++) {
		ssize_t got = read(group->leader[cpu], values, sizeof(values));
		bool whole = got == (ssize_t)(sizeof(*values) * (3 + group->count)) &&
			     values[0] == group->count;

		for (size_t i = 0; i < group->count; i++) {
			size_t index = group->counter[i];

			if (!whole) {
				reading->valid[index] = false;
				continue;
			}
			reading->value[index] += values[3 + i];
			reading->enabled_ns[index] += values[1];
			reading->running_ns[index] += values[2];
		}
	}
}

static void read_interrupt_counters(struct reading *reading)
{
	bool found[COUNTERS_MAX] = { false };

	if (interrupts_fd >= 0)
		count_interrupts(reading->value, found);
	for (size_t i = 0; i < counter_total; i++)
		if (counters[i].source == SOURCE_IRQ)
			reading->valid[i] = found[i];
}

static void read_groups(struct reading *reading, bool hardware)
{
	for (size_t i = 0; i < group_total; i++)
		if ((groups[i].type == PERF_TYPE_HARDWARE) == hardware)
			read_group(&groups[i], reading);
}

static void prepare(struct reading *reading)
{
	memset(reading, 0, sizeof(*reading));
	for (size_t i = 0; i < counter_total; i++)
		reading->valid[i] = counters[i].source == SOURCE_PERF;
}

/* The CPU's own counters and the clock come last, so as not to count the reading of the others. */
void counters_begin(struct reading *reading)
{
	prepare(reading);
	read_interrupt_counters(reading);
	read_groups(reading, false);
	read_groups(reading, true);
	reading->wall_ns = now_ns();
}

/* The other way round: what the clock and the CPU's counters say is taken first. */
void counters_end(struct reading *reading)
{
	uint64_t now = now_ns();

	prepare(reading);
	reading->wall_ns = now;
	read_groups(reading, true);
	read_groups(reading, false);
	read_interrupt_counters(reading);
}

bool counter_delta(size_t index, const struct reading *begin, const struct reading *end,
		   uint64_t *value, char *reason, size_t size)
{
	uint64_t enabled = end->enabled_ns[index] - begin->enabled_ns[index];
	uint64_t running = end->running_ns[index] - begin->running_ns[index];

	if (!begin->valid[index] || !end->valid[index]) {
		snprintf(reason, size, "could not be read");
		return false;
	}
	if (running < enabled) {
		snprintf(reason, size, "multiplexed: it counted %llu of %llu us",
			 (unsigned long long)running / 1000, (unsigned long long)enabled / 1000);
		return false;
	}
	*value = end->value[index] - begin->value[index];
	return true;
}
