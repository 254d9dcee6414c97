/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "kms.h"
#include "picture.h"

#include <stdlib.h>
#include <sys/ioctl.h>

#define SHOWN_WIDTH 320u
#define SHOWN_HEIGHT 240u
#define FRAMES 4u
#define FENCED_LEAST_MS 200	/* what a flip to a fenced buffer is watched for, at the least */
#define UNFENCED_MOST_MS 2000	/* a flip without a fence; one with is watched for four times as long */

/* A buffer of the GPU's own, drawn through the GPU's own mapping. */
static struct buffer rendered(const char *gpu, const struct picture *picture, const char *content,
			      uint32_t seed)
{
	struct buffer buffer = buffer_open(gpu, picture->size);

	picture_fill(picture, buffer_begin(&buffer, DMA_BUF_SYNC_WRITE), content, seed);
	buffer_end(&buffer, DMA_BUF_SYNC_WRITE);
	ioctl(buffer.device, DRM_IOCTL_DROP_MASTER, 0);	/* the display may be the same device */
	return buffer;
}

/* The CRC of such a picture in a buffer of the display's own, which shows `then` afterwards. */
static uint32_t crc_of(struct display *display, const struct picture *picture, void *content,
		       uint32_t seed, const struct shown *then)
{
	picture_fill(picture, content, "scene", seed);
	return display_crc_of(display, content, picture->width * 4, then);
}

CASE(render_shown, "What a GPU drew is shown from the GPU's buffer, with the right content",
     .timeout_ms = 30000, .params = "gpu= display= seed=41")
{
	struct picture picture = picture_of(V4L2_PIX_FMT_XBGR32, SHOWN_WIDTH, SHOWN_HEIGHT);
	uint32_t seed = (uint32_t)param_u64("seed"), seen, expected, other;
	struct buffer buffer = rendered(param_str("gpu"), &picture, "scene", seed);
	struct display display = display_open(param_str("display"), SHOWN_WIDTH, SHOWN_HEIGHT);
	void *content = malloc(picture.size);
	struct shown shown;

	if (!content)
		broken("no memory for a picture");
	window_begin();
	shown = display_import(&display, buffer.fd, picture.width * 4);
	display_show(&display, &shown);
	window_end("first");
	window_begin();
	for (unsigned int i = 0; i < FRAMES; i++) {
		display_flip(&display, &shown);
		display_flipped(&display, PATIENCE_MS);
	}
	window_end("steady");
	info("frames", "%u", FRAMES);

	seen = display_crc(&display);
	expected = crc_of(&display, &picture, content, seed, &shown);
	other = crc_of(&display, &picture, content, seed + 1, &shown);
	if (other == expected)
		broken("another picture has the same CRC 0x%08x", other);
	check(seen == expected, "the CRC of the GPU's buffer is 0x%08x, of the same picture 0x%08x",
	      seen, expected);

	display_close(&display);
	buffer_close(&buffer);
	free(content);
}

CASE(render_fenced, "A display does not show a buffer before its writer's fence has signalled",
     .timeout_ms = 20000, .params = "gpu= display= seed=47")
{
	struct picture picture = picture_of(V4L2_PIX_FMT_XBGR32, SHOWN_WIDTH, SHOWN_HEIGHT);
	struct buffer buffer = rendered(param_str("gpu"), &picture, "scene",
					(uint32_t)param_u64("seed"));
	struct display display = display_open(param_str("display"), SHOWN_WIDTH, SHOWN_HEIGHT);
	struct shown shown = display_import(&display, buffer.fd, picture.width * 4);
	uint32_t fence;
	uint64_t begun, spent_ms = UINT64_MAX;
	int wait_ms;

	display_show(&display, &shown);
	/* Control: without a fence the flip is done by itself, and in much less than is waited for. */
	for (int again = 0; again < 3 && spent_ms > UNFENCED_MOST_MS; again++) {
		begun = now_ns();
		display_flip(&display, &shown);
		display_flipped(&display, PATIENCE_MS);
		spent_ms = (now_ns() - begun) / 1000000 + 1;
	}
	if (spent_ms > UNFENCED_MOST_MS)
		broken("a flip takes %llu ms without a fence, so being late says nothing of one",
		       (unsigned long long)spent_ms);
	wait_ms = 4 * (int)spent_ms > FENCED_LEAST_MS ? 4 * (int)spent_ms : FENCED_LEAST_MS;
	info("unfenced_ms", "%llu", (unsigned long long)spent_ms);
	info("fenced_ms", "%d", wait_ms);

	fence = vgem_fence_attach(buffer.device, buffer.handle, VGEM_FENCE_WRITE);
	display_flip(&display, &shown);
	check(!display_flipped_raw(&display, wait_ms),
	      "the flip was done before the fence signalled, within %d ms", wait_ms);
	vgem_fence_signal(buffer.device, fence);
	display_flipped(&display, PATIENCE_MS);

	display_close(&display);
	buffer_close(&buffer);
}
