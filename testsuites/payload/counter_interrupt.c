/* SPDX-License-Identifier: MIT */
/*
 * Interrupts, from /proc/interrupts, all CPUs added up.
 *
 * "irq:SUBSTRING": the lines that contain the text.
 *
 * "irqs:devices": for each device that shares buffers, one that has a node of DRM, V4L2, of an
 * accelerator or of the reference device, the lines of its interrupts. A PCI device's interrupts are known
 * by number (msi_irqs, irq); another device's by its name, or its driver's, at the end of the line.
 */
#include "counter.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBERS_MAX 64

static struct wanted {
	char text[NAME_MAX_BYTES];	/* part of the line; or the device's name */
	char driver[NAME_MAX_BYTES];
	unsigned long number[NUMBERS_MAX];
	size_t number_count;
} wanted[COUNTERS_MAX];
static int interrupts_fd = -1;

/* --- lines ----------------------------------------------------------------------------------------- */

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

/* Adds up the per-CPU columns of one line. */
static int64_t line_total(const char *line)
{
	const char *next = strchr(line, ':');
	int64_t total = 0;

	for (size_t cpu = 0; next && cpu < CPUS_MAX; cpu++) {
		const char *from = next + (cpu ? 0 : 1);
		char *end;
		long long value = strtoll(from, &end, 10);

		if (end == from || (*end != ' ' && *end))
			break;
		total += value;
		next = end;
	}
	return total;
}

static bool is_line_of(const struct wanted *device, const char *line)
{
	char *end;
	unsigned long number = strtoul(line, &end, 10);

	if (*end != ':')
		return false;	/* an interrupt between processors, or a line of totals */
	for (size_t i = 0; i < device->number_count; i++)
		if (device->number[i] == number)
			return true;
	if (device->number_count)
		return false;
	return strstr(end, device->text) || (device->driver[0] && strstr(end, device->driver));
}

static void count(struct reading *reading)
{
	static char text[64 << 10];
	char *save = NULL;

	if (interrupts_fd < 0 || read_interrupts(text, sizeof(text)) <= 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < counters_count(); i++) {
			if ((counter_is_of(i, &source_interrupt) && strstr(line, wanted[i].text)) ||
			    (counter_is_of(i, &source_device_interrupts) &&
			     is_line_of(&wanted[i], line))) {
				reading->value[i] += line_total(line);
				reading->valid[i] = true;
			}
		}
	}
}

static bool open_file(size_t counter)
{
	if (interrupts_fd < 0)
		interrupts_fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	if (interrupts_fd < 0)
		counter_set_absent(counter, "open /proc/interrupts: %s", errname(errno));
	return interrupts_fd >= 0;
}

static void open_interrupt(size_t counter, const char *substring)
{
	static struct reading now;

	if (!*substring || strlen(substring) >= sizeof(wanted[counter].text)) {
		counter_malformed(counter, &source_interrupt, substring);
		return;
	}
	if (!open_file(counter))
		return;
	strcpy(wanted[counter].text, substring);
	memset(&now, 0, sizeof(now));
	count(&now);
	if (!now.valid[counter])
		counter_set_absent(counter, "no line of /proc/interrupts contains '%s'", substring);
}

static void close_interrupts(void)
{
	if (interrupts_fd >= 0)
		close(interrupts_fd);
	interrupts_fd = -1;
	memset(wanted, 0, sizeof(wanted));
}

/* --- devices --------------------------------------------------------------------------------------- */

static void add_number(struct wanted *device, const char *text)
{
	unsigned long number = strtoul(text, NULL, 10);

	if (number && device->number_count < NUMBERS_MAX)
		device->number[device->number_count++] = number;
}

/* What /proc/interrupts calls the device in `folder`, of sysfs. */
static void describe(const char *folder, struct wanted *device)
{
	char path[PATH_MAX + 64], text[PATH_MAX];
	ssize_t length;
	glob_t found;

	memset(device, 0, sizeof(*device));
	snprintf(device->text, sizeof(device->text), "%s", strrchr(folder, '/') + 1);
	snprintf(path, sizeof(path), "%s/driver", folder);
	length = readlink(path, text, sizeof(text) - 1);
	if (length > 0) {
		text[length] = '\0';
		snprintf(device->driver, sizeof(device->driver), "%s", strrchr(text, '/') + 1);
	}
	snprintf(path, sizeof(path), "%s/msi_irqs/*", folder);
	if (!glob(path, 0, NULL, &found)) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			add_number(device, strrchr(found.gl_pathv[i], '/') + 1);
		globfree(&found);
	}
	snprintf(path, sizeof(path), "%s/irq", folder);
	if (read_file_raw(path, text, sizeof(text)) > 0)
		add_number(device, text);
}

static bool is_known(size_t first, const char *name)
{
	for (size_t i = first; i < counters_count(); i++)
		if (counter_is_of(i, &source_device_interrupts) && !strcmp(counter_of(i), name))
			return true;
	return false;
}

/* Whether any line is of the device. */
static bool has_lines(const struct wanted *device)
{
	static char text[64 << 10];
	char *save = NULL;

	if (read_interrupts(text, sizeof(text)) <= 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (is_line_of(device, line))
			return true;
	return false;
}

/* Gives each device that the pattern finds a counter, the first one `first` itself. */
static void add_devices(size_t first, const char *pattern)
{
	static struct wanted device;
	char folder[PATH_MAX];
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		size_t counter = first;

		if (!realpath(found.gl_pathv[i], folder))
			continue;
		describe(folder, &device);
		if (!is_token(device.text, "_.:-") || is_known(first, device.text) ||
		    !has_lines(&device))
			continue;
		if (!*counter_of(first))
			counter_set_of(first, device.text);
		else if (!counter_add_of(first, device.text, &counter))
			break;
		wanted[counter] = device;
	}
	globfree(&found);
}

static void open_devices(size_t counter, const char *what)
{
	static const char *const nodes[] = {
		"/sys/class/drm/card*/device", "/sys/class/drm/renderD*/device",
		"/sys/class/video4linux/video*/device", "/sys/class/accel/accel*/device",
		"/sys/class/misc/refdev*/device",
	};

	if (strcmp(what, "devices")) {
		counter_malformed(counter, &source_device_interrupts, what);
		return;
	}
	if (!open_file(counter))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		add_devices(counter, nodes[i]);
	if (!*counter_of(counter))
		counter_set_absent(counter, "no line of /proc/interrupts is of a device with a node of DRM, "
				   "V4L2, an accelerator or the reference device");
}

const struct counter_source source_interrupt = {
	.prefix = "irq:", .form = "irq:SUBSTRING",
	.open = open_interrupt, .read = count, .close = close_interrupts,
};
/* Its lines are read and its file is closed with those of source_interrupt. */
const struct counter_source source_device_interrupts = {
	.prefix = "irqs:", .form = "irqs:devices", .whole_case = true, .open = open_devices,
};
