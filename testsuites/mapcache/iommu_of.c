/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "m2m.h"
#include "refdevice.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int open_node(const char *address)
{
	struct v4l2_queue queue;

	if (address_is(address, "drm"))
		return drm_open(address);
	if (address_is(address, "v4l2")) {
		queue = v4l2_open(address, V4L2_BUF_TYPE_VIDEO_CAPTURE);
		return queue.fd;
	}
	if (address_is(address, "m2m"))
		return m2m_open(address, M2M_ANY, 0).output.fd;
	if (address_is(address, "udmabuf"))
		return open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (address_is(address, "refdev"))
		return refdev_open(address);
	broken("no node is known by the address '%s'", address);
}

static const char *leaf(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Where the symbolic link `name` in `folder` points to; false if there is none. */
static bool follow(const char *folder, const char *name, char target[PATH_MAX])
{
	char link[PATH_MAX];

	return snprintf(link, sizeof(link), "%s/%s", folder, name) < (int)sizeof(link) &&
	       realpath(link, target);
}

static void describe_group(const char *group)
{
	char path[PATH_MAX], text[64] = "", members[400] = "";
	struct dirent *entry;
	size_t used = 0;
	DIR *folder;

	info("iommu_group", "%s", leaf(group));
	if (snprintf(path, sizeof(path), "%s/type", group) < (int)sizeof(path) &&
	    read_file_raw(path, text, sizeof(text)) > 0)
		text[strcspn(text, "\n")] = '\0';
	info("iommu_group_type", "%s", *text ? text : "unknown");

	if (snprintf(path, sizeof(path), "%s/devices", group) >= (int)sizeof(path))
		return;
	folder = opendir(path);
	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.' && used + strlen(entry->d_name) + 2 < sizeof(members))
			used += (size_t)sprintf(members + used, "%s%s", used ? " " : "",
						entry->d_name);
	if (folder)
		closedir(folder);
	info("iommu_group_members", "%s", members);
}

CASE(iommu_of, "Which IOMMU serves a device, as sysfs tells", .params = "device=")
{
	char path[PATH_MAX], node[PATH_MAX], target[PATH_MAX], driver[PATH_MAX];
	int fd = open_node(param_str("device"));
	bool found = false;
	struct stat status;

	check(fd >= 0, "%s cannot be opened: %s", param_str("device"), errname(errno));
	if (fstat(fd, &status) < 0)
		broken("fstat: %s", errname(errno));
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u", major(status.st_rdev),
		 minor(status.st_rdev));
	if (!realpath(path, node))
		broken("%s: %s", path, errname(errno));
	info("node", "%s", node);

	/* A DRM minor or a virtio device has no group; the bus device above it, which does DMA, has. */
	while (!found && strlen(node) > strlen("/sys/devices")) {
		found = follow(node, "iommu_group", target);
		if (!found)
			*strrchr(node, '/') = '\0';
	}
	info("behind_iommu", "%s", found ? "yes" : "no");
	if (found) {
		info("device", "%s", leaf(node));
		describe_group(target);
		if (follow(node, "iommu", target)) {
			info("iommu", "%s", leaf(target));
			if (follow(target, "device/driver", driver))
				info("iommu_driver", "%s", leaf(driver));
		}
	}
	close(fd);
}
