/* SPDX-License-Identifier: MIT */
/* Numbered pictures on their way through codecs: each is kept until what comes out is held against it. */
#ifndef FARM_LEDGER_H
#define FARM_LEDGER_H

#include "picture.h"
#include "v4l2.h"

#define LEDGER_AHEAD 32u	/* pictures that can be between the one put in last and one that comes out */

struct ledger {
	double least_db;	/* INFINITY: equal */
	uint32_t put, next;	/* pictures put in; the number of the next one to come out */
	uint32_t came;		/* pictures that came out */
	bool lossy;		/* some may never come out; they still come in order */
	uint32_t equal;		/* pictures that came back as they were */
	double worst;		/* PSNR of the others, dB */
	unsigned int changed;	/* the first component that differed in one of them */
	uint8_t *expected[LEDGER_AHEAD];
	struct picture layout[LEDGER_AHEAD];
};

/* For the case's parameter "quality": exact, none, or the least PSNR in dB. */
struct ledger ledger_open(void);
void ledger_close(struct ledger *ledger);

/* Room, all zero, for the next picture that is put in, laid out like this. */
uint8_t *ledger_enter(struct ledger *ledger, const struct picture *layout);
/* The timestamp that the picture entered last is to be put in with, microseconds. */
uint64_t ledger_stamp(const struct ledger *ledger);

/* What is in no queue any more will not come out. */
void ledger_lost(struct ledger *ledger);

/*
 * Holds what came out, laid out like `picture`, against what was put in with its timestamp. FAIL if it comes
 * out of turn, twice or after one that is missing, or is worse than the quality.
 */
void ledger_check(struct ledger *ledger, const struct v4l2_frame *frame,
		  const struct picture *picture, const uint8_t *seen);
/* The same of what came out last, where it still has to be. */
void ledger_check_again(const struct ledger *ledger, const struct picture *picture,
			const uint8_t *seen);

#ifndef FARM_HELPERS
#define ledger_open(...) FARM_AT(ledger_open(__VA_ARGS__))
#define ledger_enter(...) FARM_AT(ledger_enter(__VA_ARGS__))
#define ledger_check_again(...) FARM_AT(ledger_check_again(__VA_ARGS__))
#define ledger_check(...) FARM_AT(ledger_check(__VA_ARGS__))
#endif

#endif
