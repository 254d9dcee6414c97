/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "ledger.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_US 40000u	/* between two pictures' timestamps, which tell their numbers */

/* "exact", "none" or the least PSNR in dB. */
static double least_db(void)
{
	const char *quality = param_str("quality");
	char *end;
	double value;

	if (!strcmp(quality, "exact"))
		return INFINITY;
	if (!strcmp(quality, "none"))
		return 0;
	value = strtod(quality, &end);
	if (*end || !(value > 0))
		broken("quality is '%s', expected exact, none or a number of dB", quality);
	return value;
}

struct ledger ledger_open(void)
{
	return (struct ledger){ .least_db = least_db(), .worst = INFINITY, .changed = UINT32_MAX };
}

void ledger_close(struct ledger *ledger)
{
	for (unsigned int i = 0; i < LEDGER_AHEAD; i++)
		free(ledger->expected[i]);
}

uint8_t *ledger_enter(struct ledger *ledger, const struct picture *layout)
{
	uint32_t at = ledger->put++ % LEDGER_AHEAD;
	uint8_t *expected = realloc(ledger->expected[at], layout->size);

	if (!expected)
		broken("no memory for a picture");
	memset(expected, 0, layout->size);
	ledger->expected[at] = expected;
	ledger->layout[at] = *layout;
	return expected;
}

uint64_t ledger_stamp(const struct ledger *ledger)
{
	return (uint64_t)(ledger->put - 1) * FRAME_US;
}

void ledger_lost(struct ledger *ledger)
{
	ledger->next = ledger->put;
}

/* How good picture `number` is; FAIL if it is worse than the quality. */
static struct difference compare(const struct ledger *ledger, uint32_t number,
				 const struct picture *picture, const uint8_t *seen)
{
	const struct picture *layout = &ledger->layout[number % LEDGER_AHEAD];
	struct difference difference = picture_difference(
		layout, ledger->expected[number % LEDGER_AHEAD], picture, seen);

	if (difference.psnr < ledger->least_db)
		fail("frame %u of %ux%u came back with %.1f dB, expected %s", number, layout->width,
		     layout->height, difference.psnr, param_str("quality"));
	return difference;
}

void ledger_check(struct ledger *ledger, const struct v4l2_frame *frame,
		  const struct picture *picture, const uint8_t *seen)
{
	uint32_t number = (uint32_t)((frame->stamp_us + FRAME_US / 2) / FRAME_US);
	struct difference difference;

	if (number >= ledger->put || number < ledger->next ||
	    (number > ledger->next && !ledger->lossy) || ledger->put - number > LEDGER_AHEAD)
		fail("a frame comes out with the timestamp of number %u, expected %u of %u", number,
		     ledger->next, ledger->put);
	ledger->next = number + 1;
	ledger->came++;
	difference = compare(ledger, number, picture, seen);
	if (isinf(difference.psnr))
		ledger->equal++;
	else if (difference.psnr < ledger->worst)
		ledger->worst = difference.psnr;
	if (difference.component < picture->components && difference.component < ledger->changed)
		ledger->changed = difference.component;
}

void ledger_check_again(const struct ledger *ledger, const struct picture *picture,
			const uint8_t *seen)
{
	compare(ledger, ledger->next - 1, picture, seen);
}
