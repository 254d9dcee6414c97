/* SPDX-License-Identifier: MIT */
/* Cases that break the board or the link on purpose, for the farm's own end-to-end tests. */
#include "farm.h"

#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

CASE(kernel_panic, "Panics the kernel (sysrq c)", .timeout_ms = 30000)
{
	write_file("/proc/sysrq-trigger", "c");
	wait_for_the_end();
}

/*
 * Text, not a WARN() that runs: that takes LKDTM, which Debian's kernels are built without. The
 * farm reads both from the same two places, the console and /dev/kmsg.
 */
CASE(kernel_warn, "Logs what a kernel warning looks like, and passes")
{
	write_file("/dev/kmsg", "<4>------------[ cut here ]------------\n");
	write_file("/dev/kmsg",
		   "<4>WARNING: CPU: 0 PID: 1 at drivers/dma-buf/farm.c:1 farm_fault+0x0/0x10\n");
	write_file("/dev/kmsg", "<4>---[ end trace 0000000000000000 ]---\n");
}

CASE(board_reset, "Resets the board at once (sysrq b)", .timeout_ms = 30000)
{
	write_file("/proc/sysrq-trigger", "b");
	wait_for_the_end();
}

/* Takes one network interface down; false if it is the loopback or was down. */
static bool take_down(int sock, const char *name)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(sock, SIOCGIFFLAGS, &request) || request.ifr_flags & IFF_LOOPBACK ||
	    !(request.ifr_flags & IFF_UP))
		return false;
	request.ifr_flags &= ~IFF_UP;
	return !ioctl(sock, SIOCSIFFLAGS, &request);
}

CASE(board_hang, "Falls silent: every network interface goes down, the payload never answers",
     .timeout_ms = 3600000)
{
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct if_nameindex *names = if_nameindex();
	int down = 0;

	check(sock >= 0 && names, "no network interfaces: %s", errname(errno));
	for (struct if_nameindex *name = names; name->if_index; name++)
		down += take_down(sock, name->if_name);
	check(down, "no network interface could be taken down: %s", errname(errno));
	wait_for_the_end();
}

CASE(link_drop, "Kills the process that serves the channel")
{
	kill(getppid(), SIGKILL);
	wait_for_the_end();
}
