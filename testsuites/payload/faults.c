/* SPDX-License-Identifier: MIT */
/* Cases that break the board or the link on purpose, for the farm's own end-to-end tests. */
#include "farm.h"

#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* Lines that nobody minds; by itself the kernel takes ten of a program's in five seconds. */
static void kernel_chatter(uint64_t lines)
{
	if (lines)
		write_file("/proc/sys/kernel/printk_devkmsg", "on\n");
	for (uint64_t i = 0; i < lines; i++)
		write_file("/dev/kmsg", "<7>farm: one of many lines\n");
}

/*
 * Text, not a WARN() that runs: that takes LKDTM, which Debian's kernels are built without. The
 * farm reads both from the same two places, the console and /dev/kmsg.
 */
CASE(kernel_warn, "Logs what a kernel warning looks like, amid other lines, and passes",
     .params = "before=0 after=0")
{
	kernel_chatter(param_u64("before"));
	write_file("/dev/kmsg", "<4>------------[ cut here ]------------\n");
	write_file("/dev/kmsg",
		   "<4>WARNING: CPU: 0 PID: 1 at drivers/dma-buf/farm.c:1 farm_fault+0x0/0x10\n");
	write_file("/dev/kmsg", "<4>---[ end trace 0000000000000000 ]---\n");
	kernel_chatter(param_u64("after"));
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

/* What stands in the harness's own stream before the case's block, or in place of it. */
static const struct {
	const char *name, *text;
} breaks[] = {
	{ "half", "KTAP version 1\n1..1\n" },
	{ "plan", "KTAP version 1\n1..7\n" },
	{ "seq", "# sample name=a value=1 unit=ns phase=p seq=7\n" },
	{ "rubbish", "\x01\x02\xff\xfe\x1b[2J\r\nok 1 ok 1\n# end of \xc3\x28\n" },
};

CASE(stream_break, "Writes into the stream of the harness: half, plan, seq, rubbish, or MiB of noise",
     .timeout_ms = 600000, .params = "what=half mib=100")
{
	int harness = (int)syscall(SYS_pidfd_open, getppid(), 0);
	int stream = (int)syscall(SYS_pidfd_getfd, harness, STDOUT_FILENO, 0);
	char noise[4096];

	check(stream >= 0, "pidfd_getfd: %s", errname(errno));
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		if (param_is("what", breaks[i].name))
			check(write(stream, breaks[i].text, strlen(breaks[i].text)) > 0, "write");
	memset(noise, 'x', sizeof(noise));
	noise[sizeof(noise) - 1] = '\n';
	for (uint64_t i = 0; param_is("what", "noise") && i < param_u64("mib") * 256; i++)
		for (size_t at = 0; at < sizeof(noise);) {
			ssize_t wrote = write(stream, noise + at, sizeof(noise) - at);

			check(wrote > 0, "write: %s", errname(errno));
			at += (size_t)wrote;
		}
	close(stream);
	close(harness);
}
