/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "drm.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ADDRESSES 128u
#define ADDRESS_BYTES 96u

static char found[ADDRESSES][ADDRESS_BYTES];
static unsigned int count;

/* One address a device, however many nodes it has. */
static void note(const char *kind, const char *name)
{
	char address[ADDRESS_BYTES];

	snprintf(address, sizeof(address), "%s:%.80s", kind, name);
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(found[i], address))
			return;
	if (count == ADDRESSES)
		broken("more than %u devices that share buffers", ADDRESSES);
	strcpy(found[count++], address);
}

static void note_drm(const char *node)
{
	char name[64];
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	drm_driver(fd, name, sizeof(name));
	note("drm", name);
	close(fd);
}

/* What streams frames: not radios, teletext, touch screens, nor metadata. */
static void note_video(const char *node)
{
	const uint32_t m2m = V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE;
	const uint32_t frames = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE |
				V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_OUTPUT_MPLANE;
	struct v4l2_capability caps = { 0 };
	const char *bus = (const char *)caps.bus_info;
	int fd = open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	uint32_t has;

	if (fd < 0)
		return;
	if (!v4l2_capabilities_raw(fd, NULL, &has) && !ioctl(fd, VIDIOC_QUERYCAP, &caps) &&
	    has & V4L2_CAP_STREAMING && has & (m2m | frames)) {
		if (!strncmp(bus, "platform:", strlen("platform:")))
			bus += strlen("platform:");
		note(has & m2m ? "m2m" : "v4l2", bus);
	}
	close(fd);
}

static void note_heap(const char *node)
{
	note("heap", strrchr(node, '/') + 1);
}

static void each(const char *folder, const char *prefix, void (*visit)(const char *node))
{
	struct dirent *entry;
	DIR *nodes = opendir(folder);
	char node[300];

	while (nodes && (entry = readdir(nodes))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		snprintf(node, sizeof(node), "%s/%s", folder, entry->d_name);
		visit(node);
	}
	if (nodes)
		closedir(nodes);
}

/* Every DRM device has a card, also one that only renders: a render node would be the same again. */
CASE(devices_found, "The DRM and video devices and heaps that there are, by their addresses",
     .params = "")
{
	char key[16];

	each("/dev/dri", "card", note_drm);
	each("/dev", "video", note_video);
	each("/dev/dma_heap", "", note_heap);
	for (unsigned int i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "device.%u", i);
		info(key, "%s", found[i]);
	}
}
