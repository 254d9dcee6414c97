/* SPDX-License-Identifier: MIT */
/*
 * What a board is made of, as its sysfs says: IOMMU groups, devices, nodes, heaps, memory. Each line
 * is "topology", section, key and value with tabs between; "topology done" comes last.
 */
#include "harness.h"

#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES 4096
#define PATH_BYTES (PATH_MAX + 64)	/* a path and one name more */

static void format(char *path, const char *fmt, ...) FARM_PRINTF(2, 3);
static void format(char *path, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(path, PATH_BYTES, fmt, args);
	va_end(args);
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void tell(struct text *out, const char *section, const char *key, const char *value)
{
	text_add(out, "topology\t%s\t", section);
	text_add_escaped(out, key, strlen(key), PATH_MAX);
	text_add(out, "\t");
	text_add_escaped(out, value, strlen(value), FILE_BYTES);
	text_add(out, "\n");
}

/* The first line of a file, if it can be read. */
static void tell_file(struct text *out, const char *section, const char *key, const char *path)
{
	char text[FILE_BYTES];

	if (read_file_raw(path, text, sizeof(text)) <= 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	tell(out, section, key, text);
}

/* The name of what a symbolic link leads to. */
static void tell_link(struct text *out, const char *section, const char *key, const char *path)
{
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target) - 1);

	if (length < 0)
		return;
	target[length] = '\0';
	tell(out, section, key, last_part(target));
}

/* Calls visit for all that the pattern matches, in order. */
static void each(struct text *out, const char *pattern,
		 void (*visit)(struct text *out, const char *path))
{
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		visit(out, found.gl_pathv[i]);
	globfree(&found);
}

/* --- devices --------------------------------------------------------------------------------------- */

/* As of_dma_is_coherent() has it (drivers/of/address.c, 6.12): the nearest node up the tree says. */
static const char *coherence(const char *device)
{
	char at[PATH_MAX], node[PATH_MAX], path[PATH_BYTES];
	char *slash;

	if (!realpath(device, at))
		return NULL;
	for (;;) {
		format(path, "%s/of_node", at);
		if (realpath(path, node))
			break;
		slash = strrchr(at, '/');
		if (!slash || slash == at)
			return NULL;
		*slash = '\0';
	}
	while (strcmp(last_part(node), "devicetree")) {
		format(path, "%s/dma-coherent", node);
		if (exists(path))
			return "yes";
		format(path, "%s/dma-noncoherent", node);
		slash = strrchr(node, '/');
		if (exists(path) || !slash || slash == node)
			break;
		*slash = '\0';
	}
	return "no";
}

static void tell_device(struct text *out, const char *device)
{
	static const char *const files[] = { "vendor", "device", "class", "dma_mask_bits",
					     "consistent_dma_mask_bits", "modalias" };
	static const char *const links[] = { "driver", "subsystem", "iommu", "iommu_group" };
	char key[PATH_BYTES], path[PATH_BYTES];
	const char *name = last_part(device), *coherent = coherence(device);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		format(key, "%s/%s", name, files[i]);
		format(path, "%s/%s", device, files[i]);
		tell_file(out, "device", key, path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		format(key, "%s/%s", name, links[i]);
		format(path, "%s/%s", device, links[i]);
		tell_link(out, "device", key, path);
	}
	format(key, "%s/coherent", name);
	if (coherent)
		tell(out, "device", key, coherent);
}

static void tell_group_device(struct text *out, const char *path)
{
	/* /sys/kernel/iommu_groups/GROUP/devices/DEVICE */
	char group[PATH_BYTES], key[PATH_BYTES];

	format(group, "%s", path);
	*strrchr(group, '/') = '\0';
	*strrchr(group, '/') = '\0';
	format(key, "%s/device", last_part(group));
	tell(out, "group", key, last_part(path));
}

static void tell_group(struct text *out, const char *group)
{
	char key[PATH_BYTES], path[PATH_BYTES];

	format(key, "%s/type", last_part(group));
	format(path, "%s/type", group);
	tell_file(out, "group", key, path);
	format(path, "%s/devices/*", group);
	each(out, path, tell_group_device);
}

/* --- nodes ----------------------------------------------------------------------------------------- */

/* Whether it is the name of a PCI function: "0000:00:01.0". */
static bool is_pci_function(const char *name)
{
	return strlen(name) == 12 && name[4] == ':' && name[7] == ':' && name[10] == '.';
}

static void tell_node(struct text *out, const char *kind, const char *node)
{
	const char *name = last_part(node);
	char key[PATH_BYTES], path[PATH_BYTES], device[PATH_MAX];

	if (strchr(name, '-'))	/* a card's connector */
		return;
	format(key, "%s/%s/name", kind, name);
	format(path, "%s/name", node);
	tell_file(out, "node", key, path);
	format(key, "%s/%s/dev", kind, name);
	format(path, "%s/dev", node);
	tell_file(out, "node", key, path);
	format(path, "%s/device", node);
	if (!realpath(path, device))
		return;
	format(key, "%s/%s/device", kind, name);
	tell(out, "node", key, last_part(device));
	format(key, "%s/%s/driver", kind, name);
	format(path, "%s/driver", device);
	tell_link(out, "node", key, path);
	if (!strstr(device, "/pci"))	/* those of the PCI bus are told as such */
		tell_device(out, device);
	format(key, "%s/%s/pci", kind, name);
	for (char *slash; (slash = strrchr(device, '/')); *slash = '\0') {
		if (is_pci_function(slash + 1)) {
			tell(out, "node", key, slash + 1);
			break;
		}
	}
}

static void tell_drm(struct text *out, const char *node)
{
	tell_node(out, "drm", node);
}

static void tell_v4l2(struct text *out, const char *node)
{
	tell_node(out, "v4l2", node);
}

/* --- memory and modules ---------------------------------------------------------------------------- */

static void tell_heap(struct text *out, const char *path)
{
	tell(out, "heap", last_part(path), "yes");
}

static void tell_cma(struct text *out, const char *area)
{
	char path[PATH_BYTES];

	format(path, "%s/total_pages", area);
	tell_file(out, "cma", last_part(area), path);
}

/* "MemTotal:  1000 kB": its first two words. */
static void tell_memory(struct text *out)
{
	static const char *const wanted[] = { "CmaTotal", "CmaFree", "MemTotal", "Hugetlb" };
	char text[8192], *line_save = NULL;

	if (read_file_raw("/proc/meminfo", text, sizeof(text)) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &line_save); line;
	     line = strtok_r(NULL, "\n", &line_save)) {
		char *save = NULL, *word = strtok_r(line, ": ", &save);
		char *value = strtok_r(NULL, " ", &save);

		for (size_t i = 0; i < ARRAY_SIZE(wanted) && word && value; i++)
			if (!strcmp(word, wanted[i]))
				tell(out, "memory", word, value);
	}
}

/* What the image was to load at boot and did not: its init writes kind, module and why. */
static void tell_unloaded(struct text *out)
{
	char text[FILE_BYTES], key[PATH_BYTES], *line_save = NULL;

	if (read_file_raw("/run/farm-unloaded", text, sizeof(text)) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &line_save); line;
	     line = strtok_r(NULL, "\n", &line_save)) {
		char *why = NULL, *kind = strtok_r(line, " ", &why), *module = strtok_r(NULL, " ", &why);

		if (!kind || !module)
			continue;
		format(key, "%s/%s", kind, module);
		tell(out, "unloaded", key, why);
	}
}

static const struct {
	const char *section, *key, *path;
} facts_of_board[] = {
	{ "udmabuf", "size_limit_mb", "/sys/module/udmabuf/parameters/size_limit_mb" },
	{ "udmabuf", "list_limit", "/sys/module/udmabuf/parameters/list_limit" },
	{ "board", "model", "/sys/firmware/devicetree/base/model" },
	{ "board", "kernel", "/proc/sys/kernel/osrelease" },
	{ "board", "version", "/proc/sys/kernel/version" },
	{ "board", "cmdline", "/proc/cmdline" },
	{ "board", "boot_id", "/proc/sys/kernel/random/boot_id" },
	{ "board", "cpus", "/sys/devices/system/cpu/online" },
	{ "board", "uboot", "/sys/firmware/devicetree/base/chosen/u-boot,version" },
	{ "board", "bios_vendor", "/sys/class/dmi/id/bios_vendor" },
	{ "board", "bios_version", "/sys/class/dmi/id/bios_version" },
	{ "board", "bios_date", "/sys/class/dmi/id/bios_date" },
	{ "board", "swiotlb", "/sys/kernel/debug/swiotlb/io_tlb_nslabs" },
};

void topology(struct text *out)
{
	each(out, "/sys/kernel/iommu_groups/*", tell_group);
	each(out, "/sys/bus/pci/devices/*", tell_device);
	each(out, "/sys/class/drm/card*", tell_drm);
	each(out, "/sys/class/drm/renderD*", tell_drm);
	each(out, "/sys/class/video4linux/*", tell_v4l2);
	each(out, "/dev/dma_heap/*", tell_heap);
	each(out, "/sys/kernel/mm/cma/*", tell_cma);
	if (exists("/dev/udmabuf"))
		tell(out, "udmabuf", "device", "yes");
	for (size_t i = 0; i < ARRAY_SIZE(facts_of_board); i++)
		tell_file(out, facts_of_board[i].section, facts_of_board[i].key,
			  facts_of_board[i].path);
	tell_memory(out);
	tell_unloaded(out);
	text_add(out, "topology done\n");
}
