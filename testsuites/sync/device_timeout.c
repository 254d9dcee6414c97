/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define WAKE_MS 10000	/* the driver gives a transfer 2 s */

/* The config space of an open node's PCI function. */
static int config_open(int device)
{
	char name[64], path[128];
	int fd;

	refdev_function(device, name);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		broken("%s: %s", path, errname(errno));
	return fd;
}

static unsigned int config_read(int config, off_t at, size_t bytes)
{
	unsigned char value[2] = { 0 };

	if (pread(config, value, bytes, at) != (ssize_t)bytes)
		broken("config space at %#llx: %s", (unsigned long long)at, errname(errno));
	return value[0] | (unsigned int)value[1] << 8;
}

/* Has the function finish in silence: its interrupt goes nowhere, its DMA is done as ever. */
static void silence(int config)
{
	unsigned int at = config_read(config, PCI_CAPABILITY_LIST, 1), flags;
	unsigned char value[2];

	while (at && config_read(config, at, 1) != PCI_CAP_ID_MSI)
		at = config_read(config, at + PCI_CAP_LIST_NEXT, 1);
	if (!at)
		broken("the function has no message-signalled interrupt");
	flags = config_read(config, at + PCI_MSI_FLAGS, 2) & ~(unsigned int)PCI_MSI_FLAGS_ENABLE;
	value[0] = flags & 0xff;
	value[1] = flags >> 8;
	if (pwrite(config, value, 2, at + PCI_MSI_FLAGS) != 2)
		broken("config space at %#x: %s", at + PCI_MSI_FLAGS, errname(errno));
}

static bool on_the_bus(int config)
{
	return config_read(config, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

CASE(device_timeout, "A transfer that never ends is given up with ETIMEDOUT, its device off the bus",
     .timeout_ms = 30000, .params = "importer=refdev exporter=udmabuf mode=per-use size=65536")
{
	uint32_t flags = param_is("mode", "cached") ? REFDEV_CACHED : 0;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer")), config, sync_file, ret;
	struct refdev_counters before = refdev_counters(device), after;
	struct refdev_wait wait = { .size = sizeof(wait), .timeout_ms = WAKE_MS };
	char name[64];

	refdev_function(device, name);
	config = config_open(device);
	if (!on_the_bus(config))
		broken("the device is off the bus before anything went wrong");
	window_begin();
	wait.id = refdev_attach(device, buffer.fd, flags);
	silence(config);
	refdev_start(device, wait.id, REFDEV_WRITE, 0, 64);
	sync_file = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
	poll_blocked(buffer.fd, POLLIN);
	poll_ready(buffer.fd, POLLIN | POLLOUT, WAKE_MS);
	check(!on_the_bus(config), "the fence is signalled, and the device may still write");
	ret = sync_file_status(sync_file);
	check(ret == -ETIMEDOUT, "the fence's status: %s, expected ETIMEDOUT", errname(ret));
	ret = refdev_call_raw(device, REFDEV_WAIT, &wait);
	check(ret == -ETIMEDOUT && wait.done, "REFDEV_WAIT: %s, done %u, expected ETIMEDOUT, done 1",
	      errname(ret), wait.done);
	ret = refdev_start_raw(device, wait.id, 0, 0, 64, NULL);
	check(ret == -EIO, "REFDEV_TRANSFER of a device that was given up: %s, expected EIO",
	      errname(ret));
	refdev_detach(device, wait.id);
	window_end("timeout");
	after = refdev_counters(device);
	check(after.timeouts == before.timeouts + 1 && after.maps == after.unmaps &&
		      after.fences_init == after.fences_signalled,
	      "%llu timeouts, expected %llu; left: %llu maps, %llu fences",
	      (unsigned long long)after.timeouts, (unsigned long long)before.timeouts + 1,
	      (unsigned long long)(after.maps - after.unmaps),
	      (unsigned long long)(after.fences_init - after.fences_signalled));
	close(device);

	/* Bound anew, it is as good as ever. */
	write_file(REFDEV_DRIVER "/unbind", name);
	write_file(REFDEV_DRIVER "/bind", name);
	device = refdev_open(param_str("importer"));
	wait.id = refdev_attach(device, buffer.fd, flags);
	refdev_start(device, wait.id, 0, 0, 64);
	refdev_wait(device, wait.id);

	close(sync_file);
	close(config);
	close(device);
	buffer_close(&buffer);
}
