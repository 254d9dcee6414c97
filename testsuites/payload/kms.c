/* SPDX-License-Identifier: MIT */
/* A display by the legacy mode-setting calls, which every DRM driver with a CRTC has. */
#define FARM_HELPERS
#include "calls.h"
#include "kms.h"

#include <drm/drm_fourcc.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define IDS_MAX 16u
#define CRC_BEYOND_MS 10000	/* till there is one of a frame that was not yet begun */
#define CRC_LINE_MAX 256

/* --- which CRTC ------------------------------------------------------------------------------------ */

/* Timings with the least blanking that a mode may sensibly have. */
static struct drm_mode_modeinfo mode_of(uint32_t width, uint32_t height)
{
	struct drm_mode_modeinfo mode = {
		.hdisplay = (uint16_t)width, .hsync_start = (uint16_t)(width + 48),
		.hsync_end = (uint16_t)(width + 80), .htotal = (uint16_t)(width + 160),
		.vdisplay = (uint16_t)height, .vsync_start = (uint16_t)(height + 3),
		.vsync_end = (uint16_t)(height + 8), .vtotal = (uint16_t)(height + 23),
		.vrefresh = 60,
		.type = DRM_MODE_TYPE_USERDEF,
		.flags = DRM_MODE_FLAG_PHSYNC | DRM_MODE_FLAG_NVSYNC,
	};

	mode.clock = (uint32_t)mode.htotal * mode.vtotal * mode.vrefresh / 1000;
	snprintf(mode.name, sizeof(mode.name), "%ux%u", width, height);
	return mode;
}

/*
 * Keeps this thread on one CPU, always the first it may run on, so that all that switches vertical blanks on and
 * off runs there: mode sets in the call itself, what RMFB and close() do in a work item of the same CPU
 * (drm_mode_rmfb(), drivers/gpu/drm/drm_framebuffer.c). vkms makes vertical blanks by a timer, which stays on the
 * CPU that switched them on. To switch them off on another one may hang both (Linux 6.12): drm_crtc_vblank_off()
 * (drivers/gpu/drm/drm_vblank.c) holds the locks that drm_handle_vblank() takes, with interrupts off, while
 * vkms_disable_vblank() (drivers/gpu/drm/vkms/vkms_crtc.c) waits in hrtimer_cancel() for the timer's handler,
 * and that for the locks in drm_handle_vblank(). On one CPU the handler does not run meanwhile.
 */
static cpu_set_t stay_on_cpu(void)
{
	cpu_set_t before, one;
	size_t cpu = 0;

	if (sched_getaffinity(0, sizeof(before), &before))
		broken("sched_getaffinity: %s", errname(errno));
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		broken("sched_setaffinity to CPU %zu: %s", cpu, errname(errno));
	return before;
}

static void leave_cpu(const cpu_set_t *before)
{
	if (sched_setaffinity(0, sizeof(*before), before))
		broken("sched_setaffinity to the CPUs of before: %s", errname(errno));
}

struct display display_open(const char *address, uint32_t width, uint32_t height)
{
	cpu_set_t before = stay_on_cpu();
	struct display display = { .fd = drm_open(address), .crc = -1, .cpus = before };
	uint32_t crtcs[IDS_MAX] = { 0 }, connectors[IDS_MAX] = { 0 };
	struct drm_mode_card_res resources = {
		.crtc_id_ptr = (uintptr_t)crtcs, .count_crtcs = IDS_MAX,
		.connector_id_ptr = (uintptr_t)connectors, .count_connectors = IDS_MAX,
	};

	command(display.fd, DRM_IOCTL_SET_MASTER, NULL);	/* the first opener is it already */
	must(command(display.fd, DRM_IOCTL_MODE_GETRESOURCES, &resources), "MODE_GETRESOURCES");
	if (!resources.count_crtcs || !resources.count_connectors)
		fail("%s has %u CRTCs and %u connectors: it is no display", address,
		     resources.count_crtcs, resources.count_connectors);
	display.crtc = crtcs[0];
	display.connector = connectors[0];
	display.mode = mode_of(width, height);
	return display;
}

void display_close(struct display *display)
{
	struct drm_mode_crtc off = { .crtc_id = display->crtc };

	if (display->crc >= 0)
		close(display->crc);
	display->crc = -1;
	must(command(display->fd, DRM_IOCTL_MODE_SETCRTC, &off), "MODE_SETCRTC (off)");
	close(display->fd);
	display->fd = -1;
	leave_cpu(&display->cpus);
}

void display_resize(struct display *display, uint32_t width, uint32_t height)
{
	display->mode = mode_of(width, height);
}

/* --- framebuffers ---------------------------------------------------------------------------------- */

static uint32_t add_fb(struct display *display, uint32_t handle, uint32_t stride)
{
	struct drm_mode_fb_cmd2 fb = {
		.width = display->mode.hdisplay, .height = display->mode.vdisplay,
		.pixel_format = DRM_FORMAT_XRGB8888, .handles = { handle }, .pitches = { stride },
	};

	must(command(display->fd, DRM_IOCTL_MODE_ADDFB2, &fb), "MODE_ADDFB2");
	return fb.fb_id;
}

struct shown display_import(struct display *display, int dmabuf, uint32_t stride)
{
	struct shown shown = { .handle = prime_import(display->fd, dmabuf) };

	shown.fb = add_fb(display, shown.handle, stride);
	return shown;
}

struct shown display_own(struct display *display, const void *content, uint32_t stride)
{
	size_t size = (size_t)stride * display->mode.vdisplay;
	struct dumb dumb = dumb_create(display->fd, size);
	struct shown shown = { .handle = dumb.handle };
	void *map = dumb_map(display->fd, dumb.handle, dumb.size);

	memcpy(map, content, size);
	munmap(map, dumb.size);
	shown.fb = add_fb(display, shown.handle, stride);
	return shown;
}

void display_forget(struct display *display, struct shown *shown)
{
	must(command(display->fd, DRM_IOCTL_MODE_RMFB, &shown->fb), "MODE_RMFB");
	gem_close(display->fd, shown->handle);
	*shown = (struct shown){ 0 };
}

/* --- showing --------------------------------------------------------------------------------------- */

void display_show(struct display *display, const struct shown *shown)
{
	struct drm_mode_crtc set = {
		.crtc_id = display->crtc, .fb_id = shown->fb,
		.set_connectors_ptr = (uintptr_t)&display->connector, .count_connectors = 1,
		.mode = display->mode, .mode_valid = 1,
	};

	must(command(display->fd, DRM_IOCTL_MODE_SETCRTC, &set), "MODE_SETCRTC");
}

void display_flip(struct display *display, const struct shown *shown)
{
	struct drm_mode_crtc_page_flip flip = {
		.crtc_id = display->crtc, .fb_id = shown->fb, .flags = DRM_MODE_PAGE_FLIP_EVENT,
	};

	must(command(display->fd, DRM_IOCTL_MODE_PAGE_FLIP, &flip), "MODE_PAGE_FLIP");
}

bool display_flipped_raw(struct display *display, int timeout_ms)
{
	char bytes[1024];
	int ready = poll_raw(display->fd, POLLIN, timeout_ms);
	ssize_t got;

	must(ready, "poll for a flip");
	if (!ready)
		return false;
	got = read(display->fd, bytes, sizeof(bytes));
	if (got < (ssize_t)sizeof(struct drm_event))
		fail("read of a DRM event: %s", got < 0 ? errname(errno) : "too short");
	return ((struct drm_event *)bytes)->type == DRM_EVENT_FLIP_COMPLETE;
}

void display_flipped(struct display *display, int timeout_ms)
{
	if (!display_flipped_raw(display, timeout_ms))
		fail("the flip was not done within %d ms", timeout_ms);
}

/* --- CRC ------------------------------------------------------------------------------------------- */

static int crc_open(const struct display *display)
{
	char path[96], control[128], data[128];
	struct stat status;

	if (fstat(display->fd, &status))
		broken("fstat of the display: %s", errname(errno));
	snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%u/crtc-%u/crc",
		 minor(status.st_rdev), display->crtc_index);
	snprintf(control, sizeof(control), "%s/control", path);
	snprintf(data, sizeof(data), "%s/data", path);
	write_file(control, "auto");
	return open(data, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

struct crc_entry {
	bool numbered;
	uint32_t frame;		/* the vertical blank that it was made at, if numbered */
	uint32_t crc;
};

/* One entry: "0xFRAME 0xCRC…", or "XXXXXXXXXX 0xCRC" where the driver counts no frames. */
static struct crc_entry crc_entry(int fd)
{
	char line[CRC_LINE_MAX];
	int ready = poll_raw(fd, POLLIN, PATIENCE_MS);
	const char *blank;
	ssize_t got;

	must(ready, "poll for a CRC");
	if (!ready)
		fail("no CRC came within %d ms", PATIENCE_MS);
	got = read(fd, line, sizeof(line) - 1);
	if (got <= 0)
		fail("read of a CRC: %s", got ? errname(errno) : "end of file");
	line[got] = '\0';
	blank = strchr(line, ' ');
	if (!blank)
		fail("a CRC entry is '%s', expected two numbers", line);
	return (struct crc_entry){
		.numbered = line[0] == '0',
		.frame = (uint32_t)strtoul(line, NULL, 16),
		.crc = (uint32_t)strtoul(blank + 1, NULL, 16),
	};
}

uint32_t display_crc(struct display *display)
{
	struct drm_crtc_get_sequence now = { .crtc_id = display->crtc };
	struct crc_entry entry = { 0 };
	uint64_t until;
	bool counted;

	if (display->crc < 0)
		display->crc = crc_open(display);
	if (display->crc < 0)
		fail("debugfs has no CRC of this display: %s", errname(errno));
	/* What is in the queue is of frames before this call. */
	while (poll_raw(display->crc, POLLIN, 0) > 0)
		crc_entry(display->crc);
	counted = !command(display->fd, DRM_IOCTL_CRTC_GET_SEQUENCE, &now);
	until = now_ns() + CRC_BEYOND_MS * 1000000ull;
	/* So is what a late driver makes of them, any number at once; after them the one that is under way. */
	do {
		if (now_ns() > until)
			fail("after %d ms the last CRC is of frame %u, expected one beyond %u",
			     CRC_BEYOND_MS, entry.frame, (uint32_t)now.sequence);
		entry = crc_entry(display->crc);
	} while (counted && entry.numbered && (int32_t)(entry.frame - (uint32_t)now.sequence) <= 0);
	return crc_entry(display->crc).crc;
}

uint32_t display_crc_of(struct display *display, const void *content, uint32_t stride,
			const struct shown *then)
{
	struct shown own = display_own(display, content, stride);
	uint32_t crc;

	display_show(display, &own);
	crc = display_crc(display);
	display_show(display, then);	/* or the display were switched off with its framebuffer */
	display_forget(display, &own);
	return crc;
}
