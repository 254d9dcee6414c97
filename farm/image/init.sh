#!/bin/busybox sh
# First process of a virtual board: mounts, modules, network, SSH, and a root shell on the console.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /usr/bin
export PATH=/usr/sbin:/usr/bin HOME=/root USER=root LOGNAME=root
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
echo -1 > /proc/sys/kernel/perf_event_paranoid
echo 0 > /proc/sys/kernel/kptr_restrict
# DMA_API_DEBUG tells one error and is silent from then on, unless it is told to go on.
dma_api=/sys/kernel/debug/dma-api/num_errors
[ -e $dma_api ] && echo 100 > $dma_api

# Each line: "driver" (under test) or "module", its path below /lib/modules/RELEASE, its options. In
# order of need. What does not load is told in /run/farm-unloaded: kind, name, why. The console hears
# of it by the kernel's log, so that no line of the kernel's falls into ours.
modules=/lib/modules/$(uname -r)
while read -r kind module options; do
	name=${module##*/} name=${name%.ko}
	# As modprobe does: NAME.OPTION=VALUE on the kernel's command line is meant for the module.
	for word in $(cat /proc/cmdline); do
		[ "${word%%.*}" = "$name" ] && options="$options ${word#*.}"
	done
	[ "$kind" = driver ] && echo "farm: loading driver $name" > /dev/kmsg
	# Unquoted on purpose: options are words.
	if said=$(insmod "$modules/$module" $options 2>&1); then
		[ "$kind" = driver ] && echo "farm: loaded driver $name" > /dev/kmsg
	else
		kernel=$(dmesg | grep -F "$(echo "$name" | tr - _): " | tail -n 1)
		why="${said##*: }${kernel:+; the kernel says: ${kernel#*] }}"
		echo "$kind $name $why" >> /run/farm-unloaded
		echo "farm: cannot load $kind $name: $why" > /dev/kmsg
	fi
done < /etc/farm/modules

# A board without a network gets what it is to do with the image, and switches itself off.
[ -x /farm/run ] && exec /farm/run

ip link set lo up
# The control network is QEMU's user network: the card's address is always the same.
found=
for card in /sys/class/net/*; do
	card=${card##*/}
	[ "$card" = lo ] && continue
	ip addr add 10.0.2.15/24 dev "$card"
	ip link set "$card" up
	found=$card
	break
done
[ -n "$found" ] || echo "farm: no network card: the kernel has no driver for it (virtio_net, virtio_pci)"
# Its usual receive window of 24 KiB stops whoever sends a file to wait, again and again.
dropbear -s -W 1048576 -r /etc/dropbear/host_key || echo "farm: dropbear did not start"
read -r up idle < /proc/uptime
echo "farm: ready $up s after power-on"

# A serial line has no size of its own, and long commands wrap badly without one.
stty -F /dev/ttyAMA0 rows 40 cols 120
cd /root || exit
while :; do
	# A session of its own, so that the shell owns the terminal and Ctrl-C works.
	setsid -c sh -l < /dev/ttyAMA0 > /dev/ttyAMA0 2>&1
done
