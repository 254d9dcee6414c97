/* SPDX-License-Identifier: MIT */
/*
 * Events that perf counts, system-wide: on each CPU one group for each kind of event, opened once
 * and read with one system call (PERF_FORMAT_GROUP). Kinds are kept apart because the kernel (seen
 * on 6.12) may leave a member that is of another kind than its leader unscheduled, so that it counts
 * 0 while the group's times say that it ran.
 */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP_MAX 32
#define HARDWARE_GROUP_MAX 6
#define GROUPS_MAX 16
#define CPUS_MAX 256

struct group {
	uint32_t type;
	size_t count;
	size_t counter[GROUP_MAX];
	int leader[CPUS_MAX];
};

static struct group *groups;
static size_t group_total;
static int *event_fds;		/* all of them, to be closed */
static size_t event_fd_total;
static int cpus[CPUS_MAX];
static size_t cpu_total;

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

void perf_begin(void)
{
	find_cpus();
	if (!groups)
		groups = calloc(GROUPS_MAX, sizeof(*groups));
	event_fds = realloc(event_fds, sizeof(*event_fds) * COUNTERS_MAX * (cpu_total + 1));
	if (!groups || !event_fds)
		abort();
}

void perf_close(void)
{
	for (size_t i = 0; i < event_fd_total; i++)
		close(event_fds[i]);
	event_fd_total = 0;
	group_total = 0;
}

/* Opens one event on every CPU as a member of a group; 0 or -errno, with nothing left open. */
static int join_group(struct group *group, struct perf_event_attr *attr)
{
	size_t first_fd = event_fd_total;

	attr->disabled = !group->count;	/* the leader starts all of them: perf_start() */
	for (size_t i = 0; i < cpu_total; i++) {
		int leader = group->count ? group->leader[i] : -1;
		int fd = (int)syscall(SYS_perf_event_open, attr, -1, cpus[i], leader,
				      PERF_FLAG_FD_CLOEXEC);

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
int perf_add(size_t counter, struct perf_event_attr *attr)
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
		group->counter[group->count++] = counter;
	return err;
}

void perf_absent(size_t counter, int err, const char *what)
{
	const char *hint = "";

	if (err == -EACCES || err == -EPERM)
		hint = " (needs root, or a lower kernel.perf_event_paranoid)";
	else if (err == -ENOENT || err == -EOPNOTSUPP || err == -ENODEV)
		hint = " (this kernel and CPU have no such event)";
	counter_set_absent(counter, "perf_event_open for %.80s: %s%s", what, errname(err), hint);
}

void perf_open(size_t counter, struct perf_event_attr *attr, const char *what)
{
	int err = perf_add(counter, attr);

	if (err)
		perf_absent(counter, err, what);
}

/* Enables the leaders once their groups are whole, so that all members are scheduled together. */
void perf_start(void)
{
	for (size_t i = 0; i < group_total; i++)
		for (size_t cpu = 0; cpu < cpu_total; cpu++)
			ioctl(groups[i].leader[cpu], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

static void read_group(const struct group *group, struct reading *reading)
{
	uint64_t values[3 + GROUP_MAX];

	for (size_t i = 0; i < group->count; i++)
		reading->valid[group->counter[i]] = true;
	for (size_t cpu = 0; cpu < cpu_total; cpu++) {
		ssize_t got = read(group->leader[cpu], values, sizeof(values));
		bool whole = got == (ssize_t)(sizeof(*values) * (3 + group->count)) &&
			     values[0] == group->count;

		for (size_t i = 0; i < group->count; i++) {
			size_t counter = group->counter[i];

			if (!whole) {
				reading->valid[counter] = false;
				continue;
			}
			reading->value[counter] += values[3 + i];
			reading->enabled_ns[counter] += values[1];
			reading->running_ns[counter] += values[2];
		}
	}
}

void perf_read(struct reading *reading, bool hardware)
{
	for (size_t i = 0; i < group_total; i++)
		if ((groups[i].type == PERF_TYPE_HARDWARE) == hardware)
			read_group(&groups[i], reading);
}
