/* SPDX-License-Identifier: MIT */
/*
 * A camera's frames are encoded, decoded and shown; each buffer is shared by the two devices that it is
 * between.
 *
 * Nothing is believed of a frame because it was so before: a buffer that a device is to write is blotted out
 * before the device gets it, a raw frame is kept as the camera wrote it, and what the display shows is held
 * against the raw frame of its timestamp.
 */
#ifndef FARM_PIPELINE_H
#define FARM_PIPELINE_H

#include "buffer.h"
#include "codec.h"
#include "kms.h"
#include "ledger.h"

/* What a case that has a pipeline takes: its devices, the exporters between them, and the codec's quality. */
#define PIPELINE_PARAMS "camera= codec= coded=FWHT display= raw=udmabuf out=udmabuf quality=exact "

struct size {
	uint32_t width, height;
};

struct pipeline {
	struct import camera;
	struct codec codec;
	struct display display;
	struct size size, other;	/* other: what it can change to, the same if to none */
	struct pool raw;
	struct shown shown[POOL_MAX];	/* by the number of the decoded buffer */
	uint32_t was_shown;		/* bit i: that one */
	int on_display;			/* the one that the display shows; -1: none yet */
	struct ledger ledger;
	uint32_t sequence;		/* of the camera's last frame since it was started */
	const char *phase;		/* what the devices do is in windows of this phase; NULL: in none */
};

/* Opens all of the case's parameters (PIPELINE_PARAMS), for frames of 640x360. SKIP where they do not fit. */
struct pipeline pipeline_open(void);
void pipeline_close(struct pipeline *pipeline);

/* Gives the camera every buffer that the encoder does not have, blotted out, and starts it; and stops it. */
void pipeline_start_camera(struct pipeline *pipeline);
void pipeline_stop_camera(struct pipeline *pipeline);

/*
 * Whatever is done goes on, until one more frame is shown. FAIL if the camera has left a part of a frame
 * unwritten, or if what is shown is another frame than the next one, or worse than the quality.
 */
void pipeline_frame(struct pipeline *pipeline);

/* Each buffer of each stage has been through. */
bool pipeline_warm(const struct pipeline *pipeline);

/* Brings out all that the codecs have, and shows it; pipeline_restart_codecs() sets them going again. */
void pipeline_drain(struct pipeline *pipeline);
/* Both codecs anew, wherever they are; with other buffers for decoded frames, or the same. */
void pipeline_restart_codecs(struct pipeline *pipeline, bool others);

/* Whether there is another size, and all of it at that size; what is on its way is lost. */
bool pipeline_can_resize(const struct pipeline *pipeline);
void pipeline_resize(struct pipeline *pipeline);

/* What was seen at one time: the display's CRC, and the content of the decoder's buffer that it showed. */
struct sight {
	uint32_t crc;
	size_t stride;		/* of the content, bytes from line to line */
	uint8_t *content;
};

/* FAIL if the buffer does not hold the frame any more for which it is shown. */
struct sight pipeline_look(struct pipeline *pipeline);
/*
 * FAIL unless the display has that CRC for the content in a buffer of its own, too; broken() if also for that
 * content with another bit. Afterwards the display shows the frame again.
 */
void pipeline_check_crc(struct pipeline *pipeline, struct sight *sight);

/* Tells whether all that was shown was equal to what the camera gave, and if not how good it was. */
void pipeline_tell_quality(const struct pipeline *pipeline);

#ifndef FARM_HELPERS
#define pipeline_open(...) FARM_AT(pipeline_open(__VA_ARGS__))
#define pipeline_start_camera(...) FARM_AT(pipeline_start_camera(__VA_ARGS__))
#define pipeline_frame(...) FARM_AT(pipeline_frame(__VA_ARGS__))
#define pipeline_drain(...) FARM_AT(pipeline_drain(__VA_ARGS__))
#define pipeline_restart_codecs(...) FARM_AT(pipeline_restart_codecs(__VA_ARGS__))
#define pipeline_resize(...) FARM_AT(pipeline_resize(__VA_ARGS__))
#define pipeline_look(...) FARM_AT(pipeline_look(__VA_ARGS__))
#define pipeline_check_crc(...) FARM_AT(pipeline_check_crc(__VA_ARGS__))
#endif

#endif
