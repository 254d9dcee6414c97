/* SPDX-License-Identifier: MIT */
/* Raw pictures: where each component's samples lie, test content, and how far two pictures differ. */
#ifndef FARM_PICTURE_H
#define FARM_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct component {
	size_t offset;		/* of its first sample */
	size_t stride;		/* bytes from line to line */
	unsigned int step;	/* bytes from sample to sample: 1 in a plane of its own */
	uint32_t width, height;	/* in samples */
};

struct picture {
	uint32_t fourcc;	/* V4L2_PIX_FMT_… */
	uint32_t width, height;
	size_t size;		/* bytes, with what pads lines and planes */
	unsigned int components;
	struct component component[4];
};

/* YUV420 "YU12", NV12, GREY, RGB24 "RGB3" and XBGR32 "XR24"; broken() on any other. */
struct picture picture_of(uint32_t fourcc, uint32_t width, uint32_t height);

/*
 * The same as a device lays it out in one buffer: `stride` bytes from line to line and `lines` of them in
 * the first plane; the others follow it with the like (Documentation/userspace-api/media/v4l/
 * pixfmt-intro.rst).
 */
struct picture picture_laid_out(uint32_t fourcc, uint32_t width, uint32_t height, size_t stride,
				uint32_t lines);

/*
 * Fills a picture. `frame` makes each picture of a sequence another one.
 *
 *	noise	every sample random in 0 … 254: incompressible
 *	blocks	each 8x8 block of a component has one random value
 *	scene	a slow gradient that moves, with a sharp-edged square
 *
 * The fourth component, X or alpha, is 255 throughout.
 */
void picture_fill(const struct picture *picture, void *memory, const char *content, uint32_t frame);

/* How far two pictures differ. */
struct difference {
	double psnr;		/* peak signal-to-noise ratio over all samples, dB; INFINITY: equal */
	unsigned int component;	/* the first that differs; of equal ones their number */
};

/* Of two pictures of one format, width and height, however each is laid out. */
struct difference picture_difference(const struct picture *one, const void *a,
				     const struct picture *other, const void *b);

#ifndef FARM_HELPERS
#define picture_of(...) FARM_AT(picture_of(__VA_ARGS__))
#define picture_laid_out(...) FARM_AT(picture_laid_out(__VA_ARGS__))
#define picture_fill(...) FARM_AT(picture_fill(__VA_ARGS__))
#endif

#endif
