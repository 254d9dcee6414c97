/* SPDX-License-Identifier: MIT */
/*
 * Events that perf counts, system-wide: on each CPU one group for each kind of event, opened once
 * and read with one system call (PERF_FORMAT_GROUP). Kinds are kept apart because the kernel (seen
 * on 6.12) may leave a member that is of another kind than its leader unscheduled, so that it counts
 * 0 while the group's times say that it ran.
 *
 * Events that pause while times are taken may be members of a group whose leader does not: each
 * reading of a group interrupts its CPU, so the fewer the better. Not the other way round: without
 * its leader no member counts.
 *
 * The first group of the CPU's generic events (cycles, instructions) is pinned: where the CPU has
 * too few counters for all groups, the kernel takes turns with the others, and these count on.
 */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP_MAX 32
#define CPU_GROUP_MAX 6
#define GROUPS_MAX 16

struct group {
	uint32_t type;
	bool cpu_events;
	const struct cpu_list *where;
	size_t count;
	struct member {
		size_t counter;
		bool kept;
		size_t fds;		/* of the first CPU; those of the others follow it */
	} member[GROUP_MAX];
};

static struct group *groups;
static size_t group_total;
static int *event_fds;		/* all of them, to be closed */
static size_t event_fd_total;
static struct cpu_list online;
static struct pauses {		/* shared with the cases' processes, which are those that pause */
	_Atomic uint32_t begun, ended;
} *pauses;

bool perf_parse_cpus(const char *text, struct cpu_list *list)
{
	const char *next = text;

	list->count = 0;
	while (*next >= '0' && *next <= '9') {
		char *end;
		unsigned long first = strtoul(next, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long cpu = first; cpu <= last && list->count < CPUS_MAX; cpu++)
			list->cpu[list->count++] = (int)cpu;
		next = *end == ',' ? end + 1 : end;
	}
	return list->count > 0;
}

void perf_begin(void)
{
	char text[1024];

	if (read_file_raw("/sys/devices/system/cpu/online", text, sizeof(text)) <= 0 ||
	    !perf_parse_cpus(text, &online))
		perf_parse_cpus("0", &online);
	if (!groups)
		groups = calloc(GROUPS_MAX, sizeof(*groups));
	event_fds = realloc(event_fds, sizeof(*event_fds) * COUNTERS_MAX * (online.count + 1));
	if (!pauses)
		pauses = mmap(NULL, sizeof(*pauses), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!groups || !event_fds || pauses == MAP_FAILED)
		abort();
}

void perf_close(void)
{
	for (size_t i = 0; i < event_fd_total; i++)
		close(event_fds[i]);
	event_fd_total = 0;
	group_total = 0;
}

static bool is_first_of_cpu(const struct group *group)
{
	for (size_t i = 0; i < group_total; i++)
		if (groups[i].type == PERF_TYPE_HARDWARE)
			return false;
	return group->type == PERF_TYPE_HARDWARE;
}

/* A member's file on the CPU of that number in the group's list. */
static int fd_of(const struct group *group, size_t member, size_t cpu)
{
	return event_fds[group->member[member].fds + cpu];
}

/* Opens one event on the group's CPUs as its next member; 0 or -errno, with nothing left open. */
static int join_group(struct group *group, struct perf_event_attr *attr, const char *filter)
{
	size_t first_fd = event_fd_total;

	attr->disabled = !group->count;	/* the leader starts all of them: perf_start() */
	attr->pinned = !group->count && is_first_of_cpu(group);
	for (size_t i = 0; i < group->where->count; i++) {
		int leader = group->count ? fd_of(group, 0, i) : -1;
		int fd = (int)syscall(SYS_perf_event_open, attr, -1, group->where->cpu[i], leader,
				      PERF_FLAG_FD_CLOEXEC);
		int err = fd < 0 ? -errno : 0;

		if (fd >= 0)
			event_fds[event_fd_total++] = fd;
		if (!err && filter && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter))
			err = -errno;
		if (err) {
			while (event_fd_total > first_fd)
				close(event_fds[--event_fd_total]);
			return err;
		}
	}
	group->member[group->count].fds = first_fd;
	return 0;
}

/* Puts the event into the last group of its kind, or a new one if that takes no more. */
int perf_add(size_t counter, struct perf_event_attr *attr, enum perf_kind kind,
	     const struct cpu_list *where, const char *filter)
{
	bool cpu_event = kind == PERF_CPU, kept = kind != PERF_PAUSED;
	size_t limit = cpu_event ? CPU_GROUP_MAX : GROUP_MAX;
	struct group *group = NULL;
	int err = -EINVAL;

	attr->size = sizeof(*attr);
	attr->read_format = PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED |
			    PERF_FORMAT_TOTAL_TIME_RUNNING;
	where = where ? where : &online;
	for (size_t i = 0; i < group_total; i++)
		if (groups[i].type == attr->type && groups[i].where == where &&
		    (groups[i].member[0].kept || !kept) && groups[i].count < limit)
			group = &groups[i];
	if (group)
		err = join_group(group, attr, filter);
	if (err == -EINVAL || err == -ENOSPC) {
		if (group_total == GROUPS_MAX)
			return -ENOSPC;
		group = &groups[group_total];
		group->type = attr->type;
		group->cpu_events = cpu_event;
		group->where = where;
		group->count = 0;
		err = join_group(group, attr, filter);
		if (!err)
			group_total++;
	}
	if (!err) {
		group->member[group->count].counter = counter;
		group->member[group->count].kept = kept;
		group->count++;
		if (!kept)
			counter_set_pauses(counter);
	}
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

/* Enables the leaders once their groups are whole, so that all members are scheduled together. */
void perf_start(void)
{
	for (size_t i = 0; i < group_total; i++)
		for (size_t cpu = 0; cpu < groups[i].where->count; cpu++)
			ioctl(fd_of(&groups[i], 0, cpu), PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
	if (group_total)
		atomic_store(&pauses->ended, atomic_load(&pauses->begun));
}

uint32_t perf_pauses_begun(void)
{
	return pauses ? atomic_load(&pauses->begun) : 0;
}

uint32_t perf_pauses_ended(void)
{
	return pauses ? atomic_load(&pauses->ended) : 0;
}

bool perf_is_paused(void)
{
	return group_total && perf_pauses_begun() != perf_pauses_ended();
}

static void pause_group(const struct group *group)
{
	for (size_t i = 0; i < group->count; i++)
		for (size_t cpu = 0; cpu < group->where->count && !group->member[i].kept; cpu++)
			ioctl(fd_of(group, i, cpu), PERF_EVENT_IOC_DISABLE, 0);
}

void perf_pause(void)
{
	if (group_total && !perf_is_paused())
		atomic_fetch_add(&pauses->begun, 1);
	for (size_t i = 0; i < group_total; i++)
		pause_group(&groups[i]);
}

static void read_group(const struct group *group, struct reading *reading)
{
	uint64_t values[3 + GROUP_MAX];

	for (size_t i = 0; i < group->count; i++)
		reading->valid[group->member[i].counter] = true;
	for (size_t cpu = 0; cpu < group->where->count; cpu++) {
		ssize_t got = read(fd_of(group, 0, cpu), values, sizeof(values));
		bool whole = got == (ssize_t)(sizeof(*values) * (3 + group->count)) &&
			     values[0] == group->count;

		for (size_t i = 0; i < group->count; i++) {
			size_t counter = group->member[i].counter;

			if (!whole) {
				reading->valid[counter] = false;
				continue;
			}
			reading->value[counter] += (int64_t)values[3 + i];
			reading->enabled_ns[counter] += values[1];
			reading->running_ns[counter] += values[2];
		}
	}
}

void perf_read(struct reading *reading, bool cpu_events)
{
	for (size_t i = 0; i < group_total; i++)
		if (groups[i].cpu_events == cpu_events)
			read_group(&groups[i], reading);
}
