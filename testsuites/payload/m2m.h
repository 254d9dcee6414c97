/* SPDX-License-Identifier: MIT */
/*
 * V4L2 memory-to-memory devices: codecs and converters. One open file has two queues: the device reads
 * what is queued to `output` and writes the result into what is queued to `capture`.
 */
#ifndef FARM_M2M_H
#define FARM_M2M_H

#include <stdbool.h>
#include <stdint.h>

#include "v4l2.h"

struct m2m {
	struct v4l2_queue output, capture;	/* both have the file's descriptor */
};

enum m2m_role {
	M2M_ANY,	/* whatever the first node of that bus_info is */
	M2M_ENCODER,	/* capture lists the coded format */
	M2M_DECODER,	/* output lists it */
};

/* Parameter "FWHT" → V4L2_PIX_FMT_FWHT; broken() unless it has four characters. */
uint32_t param_fourcc(const char *key);

/*
 * Opens "m2m:<bus_info without platform:>" in a role; `coded` is the fourcc of the coded format (M2M_ANY:
 * ignored). A driver's encoder and decoder may have one bus_info: their formats tell them apart.
 */
struct m2m m2m_open(const char *address, enum m2m_role role, uint32_t coded);
void m2m_close(struct m2m *m2m);

/* Whether the queue can be set to this format (VIDIOC_ENUM_FMT), and to this size (_FRAMESIZES). */
bool m2m_has_format(const struct v4l2_queue *queue, uint32_t fourcc);
bool m2m_has_size(const struct v4l2_queue *queue, uint32_t fourcc, uint32_t width, uint32_t height);

/* Sets a format, as the driver adjusts it. SKIP where a frame is in several buffers. */
void m2m_take_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc);
/* Sets a format that must come out as asked, or ends the case with what came out. */
void m2m_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc);
/* Takes over the format that the device has by itself, such as after a source change. */
void m2m_current_format(struct v4l2_queue *queue);

/*
 * VIDIOC_SUBSCRIBE_EVENT; VIDIOC_DQEVENT within the time, which ends the case unless an event of this
 * type comes first.
 */
void m2m_subscribe(struct m2m *m2m, uint32_t type);
void m2m_await_event(struct m2m *m2m, uint32_t type, int timeout_ms);
/* Takes those that are there, unlooked at. */
void m2m_forget_events(struct m2m *m2m);

/*
 * Sets frames of 921600 bytes to read: RGB24 of 640x480, or of a decoder coded ones of that size; the
 * device's own choice of what it writes, RGB24 as well where it can.
 */
void m2m_frames(struct m2m *m2m);

/* Turns both queues on, or off. */
void m2m_stream(struct m2m *m2m, bool on);

/*
 * One frame through a device that streams: queues both buffers, of the output one `bytes` used, and
 * dequeues both. What was dequeued from capture; ends the case where that takes over 10 s.
 */
struct v4l2_frame m2m_run(struct m2m *m2m, uint32_t index, int from, size_t bytes, int to);

/* Buffers for one codec's queue: `count` requested, of which it may have granted more or fewer. */
void m2m_request(struct v4l2_queue *queue, uint32_t memory, uint32_t count);

#ifndef FARM_HELPERS
#define param_fourcc(...) FARM_AT(param_fourcc(__VA_ARGS__))
#define m2m_open(...) FARM_AT(m2m_open(__VA_ARGS__))
#define m2m_take_format(...) FARM_AT(m2m_take_format(__VA_ARGS__))
#define m2m_format(...) FARM_AT(m2m_format(__VA_ARGS__))
#define m2m_current_format(...) FARM_AT(m2m_current_format(__VA_ARGS__))
#define m2m_subscribe(...) FARM_AT(m2m_subscribe(__VA_ARGS__))
#define m2m_await_event(...) FARM_AT(m2m_await_event(__VA_ARGS__))
#define m2m_forget_events(...) FARM_AT(m2m_forget_events(__VA_ARGS__))
#define m2m_frames(...) FARM_AT(m2m_frames(__VA_ARGS__))
#define m2m_stream(...) FARM_AT(m2m_stream(__VA_ARGS__))
#define m2m_run(...) FARM_AT(m2m_run(__VA_ARGS__))
#define m2m_request(...) FARM_AT(m2m_request(__VA_ARGS__))
#endif

#endif
