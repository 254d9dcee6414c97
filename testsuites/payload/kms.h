/* SPDX-License-Identifier: MIT */
/* A display: one CRTC that shows framebuffers, and the CRC of what it shows. */
#ifndef FARM_KMS_H
#define FARM_KMS_H

#include <drm/drm.h>
#include <drm/drm_mode.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display {
	int fd;
	uint32_t crtc, connector;
	uint32_t crtc_index;
	struct drm_mode_modeinfo mode;	/* width x height at 60 Hz, of our own timing */
	int crc;			/* debugfs crc/data, -1 until display_crc() */
	cpu_set_t cpus;			/* on which the thread may run after display_close() */
};

/* A framebuffer of one buffer, XRGB8888. */
struct shown {
	uint32_t handle, fb;
};

/*
 * Opens "drm:…", becomes its master, and takes its first CRTC and connector. Until display_close(), which
 * that thread has to call, the calling thread stays on one CPU.
 */
struct display display_open(const char *address, uint32_t width, uint32_t height);
void display_close(struct display *display);	/* the CRTC off first */
/* Framebuffers of another size from now on; the next display_show() sets the mode for them. */
void display_resize(struct display *display, uint32_t width, uint32_t height);

/* Imports a dma-buf as a framebuffer of the display's size, or frees one with its handle. */
struct shown display_import(struct display *display, int dmabuf, uint32_t stride);
void display_forget(struct display *display, struct shown *shown);
/* A dumb buffer of the display's own with the given content, as a framebuffer. */
struct shown display_own(struct display *display, const void *content, uint32_t stride);

/* DRM_IOCTL_MODE_SETCRTC: shows it from now on, with a full mode set. */
void display_show(struct display *display, const struct shown *shown);
/* DRM_IOCTL_MODE_PAGE_FLIP; display_flipped() waits for its event. */
void display_flip(struct display *display, const struct shown *shown);
bool display_flipped_raw(struct display *display, int timeout_ms);
void display_flipped(struct display *display, int timeout_ms);

/*
 * The CRC (debugfs crtc-N/crc, source "auto") of a frame that was scanned out after the call: that of the
 * second one whose number is beyond the CRTC's count of vertical blanks, as the one that is under way may
 * still hold what was shown before. A loaded machine makes CRCs late, then one for several frames
 * (vkms_composer_worker(), drivers/gpu/drm/vkms/vkms_composer.c, Linux 6.12).
 */
uint32_t display_crc(struct display *display);
/* That of this content in a buffer of the display's own, which shows `then` afterwards. */
uint32_t display_crc_of(struct display *display, const void *content, uint32_t stride,
			const struct shown *then);

#ifndef FARM_HELPERS
#define display_open(...) FARM_AT(display_open(__VA_ARGS__))
#define display_close(...) FARM_AT(display_close(__VA_ARGS__))
#define display_import(...) FARM_AT(display_import(__VA_ARGS__))
#define display_forget(...) FARM_AT(display_forget(__VA_ARGS__))
#define display_own(...) FARM_AT(display_own(__VA_ARGS__))
#define display_show(...) FARM_AT(display_show(__VA_ARGS__))
#define display_flip(...) FARM_AT(display_flip(__VA_ARGS__))
#define display_flipped(...) FARM_AT(display_flipped(__VA_ARGS__))
#define display_crc(...) FARM_AT(display_crc(__VA_ARGS__))
#define display_crc_of(...) FARM_AT(display_crc_of(__VA_ARGS__))
#endif

#endif
