/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "picture.h"

#include <linux/videodev2.h>
#include <math.h>
#include <string.h>

#define BLOCK 8u	/* FWHT's, JPEG's and MPEG's transforms are of 8x8 samples */
#define SQUARE 64u	/* edge of the scene's square, in samples */

static struct component plane(size_t offset, size_t stride, uint32_t width, uint32_t height)
{
	return (struct component){
		.offset = offset, .stride = stride, .step = 1, .width = width, .height = height,
	};
}

static struct component interleaved(size_t offset, size_t stride, unsigned int step, uint32_t width,
				    uint32_t height)
{
	return (struct component){
		.offset = offset, .stride = stride, .step = step, .width = width, .height = height,
	};
}

struct picture picture_laid_out(uint32_t fourcc, uint32_t width, uint32_t height, size_t stride,
				uint32_t lines)
{
	struct picture picture = { .fourcc = fourcc, .width = width, .height = height };
	struct component *component = picture.component;
	size_t luma = stride * lines, quarter = stride / 2 * (lines / 2);
	unsigned int step;

	picture.size = luma;
	switch (fourcc) {
	case V4L2_PIX_FMT_GREY:
		picture.components = 1;
		component[0] = plane(0, stride, width, height);
		break;
	case V4L2_PIX_FMT_YUV420:
		picture.components = 3;
		picture.size += 2 * quarter;
		component[0] = plane(0, stride, width, height);
		component[1] = plane(luma, stride / 2, width / 2, height / 2);
		component[2] = plane(luma + quarter, stride / 2, width / 2, height / 2);
		break;
	case V4L2_PIX_FMT_NV12:
		picture.components = 3;
		picture.size += stride * (lines / 2);
		component[0] = plane(0, stride, width, height);
		component[1] = interleaved(luma, stride, 2, width / 2, height / 2);
		component[2] = interleaved(luma + 1, stride, 2, width / 2, height / 2);
		break;
	case V4L2_PIX_FMT_RGB24:
	case V4L2_PIX_FMT_XBGR32:
		step = picture.components = fourcc == V4L2_PIX_FMT_RGB24 ? 3 : 4;
		for (unsigned int i = 0; i < step; i++)
			component[i] = interleaved(i, stride, step, width, height);
		break;
	default:
		broken("no picture is made of format %.4s", (const char *)&fourcc);
	}
	return picture;
}

struct picture picture_of(uint32_t fourcc, uint32_t width, uint32_t height)
{
	unsigned int step = fourcc == V4L2_PIX_FMT_RGB24 ? 3 : fourcc == V4L2_PIX_FMT_XBGR32 ? 4 : 1;

	return picture_laid_out(fourcc, width, height, (size_t)width * step, height);
}

/* A hash of three numbers, of which each bit depends on all of them. */
static uint32_t mix(uint32_t a, uint32_t b, uint32_t c)
{
	uint32_t hash = a * 0x9e3779b1u ^ b * 0x85ebca77u ^ c * 0xc2b2ae3du;

	hash ^= hash >> 15;
	hash *= 0x2c1b3c6du;
	hash ^= hash >> 12;
	hash *= 0x297a2d39u;
	return hash ^ hash >> 15;
}

static uint8_t noise(uint32_t x, uint32_t y, uint32_t seed)
{
	return (uint8_t)(mix(x, y, seed) % 255);
}

static uint8_t block(uint32_t x, uint32_t y, uint32_t seed)
{
	return noise(x / BLOCK, y / BLOCK, seed);
}

static uint8_t scene(uint32_t x, uint32_t y, uint32_t seed)
{
	uint32_t left = (seed * 5) % 256, top = (seed * 3) % 128;

	if (x - left < SQUARE && y - top < SQUARE)
		return (uint8_t)(200 - seed % 16);
	return (uint8_t)(32 + (x + 2 * y + seed * 4) / 8 % 128);
}

void picture_fill(const struct picture *picture, void *memory, const char *content, uint32_t frame)
{
	uint8_t (*value)(uint32_t x, uint32_t y, uint32_t seed) =
		!strcmp(content, "noise") ? noise : !strcmp(content, "blocks") ? block :
		!strcmp(content, "scene") ? scene : NULL;

	if (!value)
		broken("content is '%s', expected noise, blocks or scene", content);
	for (unsigned int i = 0; i < picture->components; i++) {
		const struct component *component = &picture->component[i];
		uint32_t seed = frame * 4 + i;

		for (uint32_t y = 0; y < component->height; y++) {
			uint8_t *at = (uint8_t *)memory + component->offset + y * component->stride;

			for (uint32_t x = 0; x < component->width; x++, at += component->step)
				*at = i == 3 ? 255 : value(x, y, seed);
		}
	}
}

/* The sum of the squared differences of one component. */
static uint64_t squares(const struct component *one, const uint8_t *a, const struct component *other,
			const uint8_t *b)
{
	uint64_t sum = 0;

	a += one->offset;
	b += other->offset;
	for (uint32_t y = 0; y < one->height; y++, a += one->stride, b += other->stride) {
		if (one->step == 1 && !memcmp(a, b, one->width))
			continue;
		for (uint32_t x = 0; x < one->width; x++) {
			int difference = a[x * one->step] - b[x * other->step];

			sum += (uint64_t)(difference * difference);
		}
	}
	return sum;
}

static void same_kind(const struct picture *one, const struct picture *other)
{
	if (one->fourcc != other->fourcc || one->width != other->width ||
	    one->height != other->height)
		broken("a picture of %ux%u is taken for one of %ux%u", one->width, one->height,
		       other->width, other->height);
}

struct difference picture_difference(const struct picture *one, const void *a,
				     const struct picture *other, const void *b)
{
	struct difference difference = { .psnr = INFINITY, .component = one->components };
	uint64_t sum = 0, samples = 0;

	same_kind(one, other);
	if (one->size == other->size && one->component[0].stride == other->component[0].stride &&
	    !memcmp(a, b, one->size))
		return difference;
	for (unsigned int i = 0; i < one->components; i++) {
		const struct component *component = &one->component[i];
		uint64_t now = squares(component, a, &other->component[i], b);

		if (now && !sum)
			difference.component = i;
		sum += now;
		samples += (uint64_t)component->width * component->height;
	}
	if (sum)
		difference.psnr = 10 * log10(255.0 * 255.0 * (double)samples / (double)sum);
	return difference;
}
