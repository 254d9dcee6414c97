/* SPDX-License-Identifier: MIT */
/* The harness's own pictures: the same samples with and without padding. */
#include "farm.h"
#include "m2m.h"
#include "picture.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH 64u
#define HEIGHT 48u

/* Copies the samples of a picture to one of the same kind that is laid out otherwise. */
static void copy_samples(const struct picture *to, uint8_t *there, const struct picture *from,
			 const uint8_t *here)
{
	for (unsigned int i = 0; i < from->components; i++) {
		const struct component *a = &from->component[i], *b = &to->component[i];

		for (uint32_t y = 0; y < a->height; y++)
			for (uint32_t x = 0; x < a->width; x++)
				there[b->offset + y * b->stride + x * b->step] =
					here[a->offset + y * a->stride + x * a->step];
	}
}

CASE(self_layouts, "Compares a picture with itself in lines and planes with padding", .params = "format=")
{
	uint32_t fourcc = param_fourcc("format");
	struct picture plain = picture_of(fourcc, WIDTH, HEIGHT), padded;
	struct difference copied, padding, changed;
	uint8_t *one, *other, *sample;

	padded = picture_laid_out(fourcc, WIDTH, HEIGHT, plain.component[0].stride + 32, HEIGHT + 16);
	one = malloc(plain.size);
	other = malloc(padded.size);
	if (!one || !other)
		broken("no memory for pictures");
	picture_fill(&plain, one, "noise", 1);
	memset(other, 1, padded.size);
	copy_samples(&padded, other, &plain, one);
	copied = picture_difference(&plain, one, &padded, other);
	memset(other, 2, padded.size);
	copy_samples(&padded, other, &plain, one);
	padding = picture_difference(&plain, one, &padded, other);
	sample = other + padded.component[padded.components - 1].offset;
	*sample = (uint8_t)(*sample < 128 ? *sample + 100 : *sample - 100);
	changed = picture_difference(&plain, one, &padded, other);

	info("copied", "%.1f", copied.psnr);
	info("padding", "%.1f", padding.psnr);
	info("changed", "%u", changed.component);
	info("psnr", "%.1f", changed.psnr);
	free(one);
	free(other);
}
