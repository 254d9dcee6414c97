/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "fence_source.h"
#include "stress.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORDS_BETWEEN 64	/* after so many a writer may let others run */
#define READER_MS 20000
#define TURN 't'
#define OVER 'o'
#define UNWRITTEN 0		/* instead of a frame's value: nobody has written one yet */
#define TORN UINT64_MAX		/* its values differ */

/* How the two writers are kept apart. */
enum order {
	FENCES,		/* whose turn it is comes by pipe at once, that the frame is whole by its fence */
	TURNS,		/* the pipe alone: a turn comes before the frame is whole */
	NOTHING,	/* both write when they like */
};

/* What became of the one frame that is torn on purpose. */
enum control {
	UNREAD,
	READ_TORN,
	READ_WHOLE,
};

/* What the two processes share. Frames are one value over and over: writer, and number from 1. */
struct table {
	enum order order;
	const char *fences;	/* the CPU writers' */
	const char *writer[2];	/* "cpu", or the address of a reference device */
	int buffer;
	size_t size;		/* of a frame in bytes */
	int turn[2][2];		/* pipe of each writer: TURN when it is its turn, OVER at the end */
	uint64_t torn, lost, frames;	/* without the control */
	enum control control;
};

/* A writer at the table: of its two ways to write one is open. */
struct seat {
	struct table *table;
	struct worker *worker;
	volatile uint64_t *view;	/* cpu */
	struct fence_source source;	/* cpu: its fences on the buffer */
	int device;			/* refdev */
	uint32_t attached, stage_id;
	struct buffer stage;		/* refdev: what is written, and where what was read ends up */
	volatile uint64_t *staged;
};

static uint64_t frame_value(unsigned int writer, uint64_t number)
{
	return ((uint64_t)('A' + writer) << 56) | number;
}

static void fill(volatile uint64_t *words, size_t size, uint64_t value, bool pause)
{
	for (size_t i = 0; i < size / sizeof(*words); i++) {
		words[i] = value;
		if (pause && i % WORDS_BETWEEN == 0)
			sched_yield();
	}
}

/* With turns alone, whether a frame is left half written until it is read: the first one, and no other. */
static bool is_control(const struct table *table, unsigned int writer, uint64_t number)
{
	return table->order == TURNS && writer == 0 && number == 1;
}

static void await_reader(struct table *table)
{
	uint64_t limit = now_ns() + READER_MS * 1000000ull;

	while (__atomic_load_n(&table->control, __ATOMIC_ACQUIRE) == UNREAD && now_ns() < limit)
		sched_yield();
}

/* The frame's value, UNWRITTEN or TORN. */
static uint64_t whole_value(const volatile uint64_t *words, size_t size)
{
	for (size_t i = 1; i < size / sizeof(*words); i++)
		if (words[i] != words[0])
			return TORN;
	return words[0];
}

/* --- a writer on the CPU --------------------------------------------------------------------------- */

static uint64_t cpu_read(struct seat *seat)
{
	bool waits = seat->table->order == FENCES;
	uint64_t value;

	if (waits)	/* until the other's fence, whoever that is */
		dmabuf_sync(seat->table->buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	value = whole_value(seat->view, seat->table->size);
	if (waits)
		dmabuf_sync(seat->table->buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	return value;
}

static void tell_other(struct seat *seat, char what)
{
	if (write(seat->table->turn[!seat->worker->number][1], &what, 1) != 1)
		broken("the turn cannot be passed on: %s", errname(errno));
}

static void pass_turn(struct seat *seat)
{
	if (seat->table->order != NOTHING)
		tell_other(seat, TURN);
}

/* `pause`: let others run while it writes, which only fences are put to: else it is left to the scheduler. */
static void cpu_write(struct seat *seat, uint64_t value, bool pause)
{
	bool fenced = seat->table->order == FENCES;

	if (fenced && !source_attach(&seat->source, 0, 0, true))
		fail("round %llu: the other's fence is pending after SYNC START waited for it",
		     (unsigned long long)seat->worker->rounds);
	if (is_control(seat->table, seat->worker->number, seat->worker->rounds)) {
		fill(seat->view, seat->table->size / 2, value, false);
		pass_turn(seat);
		await_reader(seat->table);
	} else {
		pass_turn(seat);	/* the frame is yet to be written */
	}
	fill(seat->view, seat->table->size, value, fenced && pause);
	if (fenced) {
		__sync_synchronize();
		source_signal(&seat->source, 0);
	}
}

/* --- a device that writes: its driver waits for fences and attaches its own ------------------------ */

static uint64_t device_read(struct seat *seat)
{
	uint32_t length = (uint32_t)seat->table->size;

	refdev_start(seat->device, seat->attached, 0, 0, length);
	refdev_start(seat->device, seat->stage_id, REFDEV_WRITE, 0, length);
	refdev_wait(seat->device, seat->stage_id);
	return whole_value(seat->staged, seat->table->size);
}

static void device_write(struct seat *seat, uint64_t value)
{
	uint32_t length = (uint32_t)seat->table->size;

	fill(seat->staged, seat->table->size, value, false);
	refdev_start(seat->device, seat->stage_id, 0, 0, length);
	refdev_start(seat->device, seat->attached, REFDEV_WRITE, 0, length);
	pass_turn(seat);	/* the transfer goes on */
}

/* --- the game -------------------------------------------------------------------------------------- */

static void sit_down(struct seat *seat, const char *how)
{
	struct table *table = seat->table;

	if (!strcmp(how, "cpu")) {
		seat->view = dmabuf_map(table->buffer, table->size, PROT_READ | PROT_WRITE);
		if (table->order == FENCES)
			seat->source = source_open(table->fences, &table->buffer, 1);
		return;
	}
	seat->stage = buffer_open("udmabuf", table->size);
	seat->staged = dmabuf_map(seat->stage.fd, table->size, PROT_READ | PROT_WRITE);
	seat->device = refdev_open(how);
	seat->attached = refdev_attach(seat->device, table->buffer, REFDEV_CACHED);
	seat->stage_id = refdev_attach(seat->device, seat->stage.fd, REFDEV_CACHED);
}

static void stand_up(struct seat *seat)
{
	struct table *table = seat->table;

	if (seat->view) {
		dmabuf_unmap((void *)seat->view, table->size);
		if (table->order == FENCES)
			source_close(&seat->source);
		return;
	}
	refdev_detach(seat->device, seat->attached);
	refdev_detach(seat->device, seat->stage_id);
	close(seat->device);
	dmabuf_unmap((void *)seat->staged, table->size);
	buffer_close(&seat->stage);
}

/* What the reader of a frame finds is the other's last one, an older one (lost) or torn. */
static void judge(struct seat *seat, uint64_t seen)
{
	struct table *table = seat->table;
	unsigned int other = !seat->worker->number;
	/* The first writer's turn comes first. */
	uint64_t expected = seat->worker->rounds - (seat->worker->number == 0);

	if (is_control(table, other, expected)) {
		__atomic_store_n(&table->control, seen == TORN ? READ_TORN : READ_WHOLE,
				 __ATOMIC_RELEASE);
		return;
	}
	if (seen == UNWRITTEN && table->order == NOTHING)
		return;
	__atomic_fetch_add(&table->frames, 1, __ATOMIC_RELAXED);
	if (seen == TORN)
		__atomic_fetch_add(&table->torn, 1, __ATOMIC_RELAXED);
	else if (seen != frame_value(other, expected))
		__atomic_fetch_add(&table->lost, 1, __ATOMIC_RELAXED);
	check(table->order != FENCES || seen == frame_value(other, expected),
	      "round %llu of writer %c: %s (0x%llx, expected 0x%llx)",
	      (unsigned long long)seat->worker->rounds, 'A' + (int)seat->worker->number,
	      seen == TORN ? "a torn frame" : "another frame than the other's last one",
	      (unsigned long long)seen, (unsigned long long)frame_value(other, expected));
}

static void play(struct worker *worker)
{
	struct table *table = worker->arg;
	unsigned int mine = worker->number;
	struct seat seat = { .table = table, .worker = worker };
	char told = TURN;

	sit_down(&seat, table->writer[mine]);
	while (next_round(worker)) {
		bool pause = decide(worker, 4) == 0;

		if (table->order != NOTHING && (mine || worker->rounds > 1) &&
		    (read(table->turn[mine][0], &told, 1) != 1 || told == OVER))
			break;		/* the other has had its last round */
		if (mine || worker->rounds > 1)
			judge(&seat, seat.view ? cpu_read(&seat) : device_read(&seat));
		if (seat.view)
			cpu_write(&seat, frame_value(mine, worker->rounds), pause);
		else
			device_write(&seat, frame_value(mine, worker->rounds));
		worker->operations++;
	}
	tell_other(&seat, OVER);
	stand_up(&seat);
}

CASE(ping_pong, "Two writers of whole frames in turn see the other's last frame each time, whole",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporter=udmabuf fences=drm:vgem a=cpu b=cpu order=fences seed=1 ms=500 rounds=0 "
	       "size=2048")
{
	static const char *const orders[] = { "fences", "turns", "nothing" };
	static const char *const controls[] = { "unread", "torn", "whole" };
	struct table *table = shared_memory(sizeof(*table));
	struct buffer buffer;

	table->order = NOTHING;
	for (unsigned int i = 0; i < 3; i++)
		if (param_is("order", orders[i]))
			table->order = (enum order)i;
	table->fences = param_str("fences");
	table->writer[0] = param_str("a");
	table->writer[1] = param_str("b");
	table->size = param_u64("size");
	buffer = buffer_open(param_str("exporter"), table->size);
	table->buffer = buffer.fd;
	for (int i = 0; i < 2; i++)
		if (pipe(table->turn[i]) < 0)
			broken("pipe: %s", errname(errno));
	window_begin();
	stress_processes(2, play, table);
	window_end("game");
	for (int i = 0; i < 2; i++) {
		close(table->turn[i][0]);
		close(table->turn[i][1]);
	}
	if (table->frames) {
		sample("frames_torn", (double)table->torn * 1000 / (double)table->frames, "{permille}",
		       "game");
		sample("frames_lost", (double)table->lost * 1000 / (double)table->frames, "{permille}",
		       "game");
	}
	info("frames", "%llu", (unsigned long long)table->frames);
	info("torn", "%llu", (unsigned long long)table->torn);
	info("lost", "%llu", (unsigned long long)table->lost);
	if (table->order == TURNS)
		info("control", "%s", controls[table->control]);
	shared_memory_free(table, sizeof(*table));
	buffer_close(&buffer);
}
