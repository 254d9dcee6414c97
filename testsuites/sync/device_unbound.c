/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <poll.h>
#include <unistd.h>

static void is_gone(int device, uint32_t id, int dmabuf)
{
	struct refdev_info info = { .size = sizeof(info) };
	int ret = refdev_call_raw(device, REFDEV_INFO, &info);

	check(ret == -ENODEV, "REFDEV_INFO of a device that is gone: %s", errname(ret));
	ret = refdev_attach_raw(device, dmabuf, 0);
	check(ret == -ENODEV, "REFDEV_ATTACH to a device that is gone: %s", errname(ret));
	ret = refdev_start_raw(device, id, 0, 0, 16, NULL);
	check(ret == -ENODEV, "REFDEV_TRANSFER of a device that is gone: %s", errname(ret));
	ret = refdev_wait_raw(device, id, 0);
	check(ret == -ENODEV, "REFDEV_WAIT for a device that is gone: %s", errname(ret));
}

CASE(device_unbound, "A device that goes away with a file open and DMA in flight leaves nothing",
     .timeout_ms = 20000, .params = "importer=refdev exporter=udmabuf mode=per-use size=65536")
{
	uint32_t flags = param_is("mode", "cached") ? REFDEV_CACHED : 0, id;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer")), sync_file;
	struct refdev_counters left;
	char name[64];

	refdev_function(device, name);
	info("function", "%s", name);
	window_begin();
	id = refdev_attach(device, buffer.fd, flags);
	refdev_start(device, id, REFDEV_WRITE, 0, 64);
	sync_file = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
	check(sync_file_status(sync_file) == 0, "the transfer was over before the device went away");

	write_file(REFDEV_DRIVER "/unbind", name);
	window_end("unbound");
	check(sync_file_status(sync_file) == 1, "the transfer's fence is pending, its device gone");
	poll_ready(buffer.fd, POLLIN | POLLOUT, 0);
	is_gone(device, id, buffer.fd);
	left = refdev_counters(device);
	check(left.maps == left.unmaps && left.attaches == left.detaches &&
		      left.fences_init == left.fences_signalled && !left.timeouts,
	      "left: %llu maps, %llu attachments, %llu fences",
	      (unsigned long long)(left.maps - left.unmaps),
	      (unsigned long long)(left.attaches - left.detaches),
	      (unsigned long long)(left.fences_init - left.fences_signalled));

	/* It comes back, as another device to those who have the old one open. */
	write_file(REFDEV_DRIVER "/bind", name);
	is_gone(device, id, buffer.fd);
	close(device);
	device = refdev_open(param_str("importer"));
	left = refdev_counters(device);
	check(!left.attaches, "the device that came back has %llu attachments",
	      (unsigned long long)left.attaches);
	id = refdev_attach(device, buffer.fd, flags);
	refdev_start(device, id, 0, 0, 64);
	refdev_wait(device, id);

	close(sync_file);
	close(device);
	buffer_close(&buffer);
}
