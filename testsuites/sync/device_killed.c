/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <poll.h>
#include <unistd.h>

#define WAKE_MS 5000

struct owner {
	const char *address;
	uint32_t flags;
	int buffer;
	int running[2];		/* pipe: a byte when the transfer is in flight */
};

/* Opens the device in a process of its own, starts a write, and waits to be killed. */
static void own_a_transfer(void *arg)
{
	struct owner *owner = arg;
	int device = refdev_open(owner->address);
	uint32_t id = refdev_attach(device, owner->buffer, owner->flags);

	refdev_start(device, id, REFDEV_WRITE, 0, 64);
	if (write(owner->running[1], "", 1) != 1)
		broken("the owner's pipe closed: %s", errname(errno));
	for (;;)
		pause();
}

CASE(device_killed, "A transfer whose owner is killed ends, and leaves nothing attached or mapped",
     .timeout_ms = 20000,
     .params = "importer=refdev exporter=udmabuf mode=per-use rounds=5 size=65536")
{
	struct owner owner = {
		.address = param_str("importer"),
		.flags = param_is("mode", "cached") ? REFDEV_CACHED : 0,
	};
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(owner.address);
	struct refdev_counters before = refdev_counters(device), after;
	uint64_t rounds = param_u64("rounds");

	owner.buffer = buffer.fd;
	if (pipe(owner.running) < 0)
		broken("pipe: %s", errname(errno));
	window_begin();
	for (uint64_t i = 0; i < rounds; i++) {
		pid_t pid = spawn(own_a_transfer, &owner);
		char byte;

		if (read(owner.running[0], &byte, 1) != 1)
			broken("the owner is gone before its transfer: %s", errname(errno));
		poll_blocked(buffer.fd, POLLIN);
		kill_and_reap(pid);
		poll_ready(buffer.fd, POLLIN | POLLOUT, WAKE_MS);
	}
	/* The last owner's file is closed when its process is gone; this one's counters are the device's. */
	window_end("killed");
	after = refdev_counters(device);
	check(after.transfers - before.transfers == rounds, "%llu transfers, expected %llu",
	      (unsigned long long)(after.transfers - before.transfers), (unsigned long long)rounds);
	check(after.maps == after.unmaps && after.attaches == after.detaches &&
		      after.fences_init == after.fences_signalled,
	      "left: %llu maps, %llu attachments, %llu fences",
	      (unsigned long long)(after.maps - after.unmaps),
	      (unsigned long long)(after.attaches - after.detaches),
	      (unsigned long long)(after.fences_init - after.fences_signalled));
	check(!after.timeouts, "the watchdog ended %llu transfers",
	      (unsigned long long)after.timeouts);

	close(owner.running[0]);
	close(owner.running[1]);
	close(device);
	buffer_close(&buffer);
}
