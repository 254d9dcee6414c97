"""What a board is made of, as its sysfs says: IOMMU groups, devices, nodes, heaps, memory.

What of a device's constraints sysfs does not have is under ``absent``, each with the reason; the
suite ``constraints`` finds by trial what can be found so.

One shell script, one round trip. It reads with the shell's own commands, since a process for every
file would take seconds on a small board, and says everything at once, since a packet for every line
takes as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farm.errors import ProtocolError

MAX_OUTPUT = 1 << 20
"""Characters that one board may tell about itself: the journal keeps them in one event."""

SCRIPT = r"""
get() {
  [ -r "$3" ] || return
  v=; IFS= read -r v < "$3" 2>/dev/null || [ -n "$v" ] || return
  printf '%s\t%s\t%s\n' "$1" "$2" "$v"
}
link() { [ -d "$3" ] && cd -P "$3" 2>/dev/null && printf '%s\t%s\t%s\n' "$1" "$2" "${PWD##*/}"; }
device() {
  n=${1##*/}
  for f in vendor device class dma_mask_bits consistent_dma_mask_bits modalias; do
    get device "$n/$f" "$1/$f"
  done
  link device "$n/driver" "$1/driver"
  link device "$n/subsystem" "$1/subsystem"
  link device "$n/iommu" "$1/iommu"
  link device "$n/iommu_group" "$1/iommu_group"
  coherent "$n" "$1"
}
coherent() {  # as of_dma_is_coherent() has it: the nearest node up the tree that says so
  cd -P "$2"; u=$PWD
  while [ -n "$u" ] && [ ! -d "$u/of_node" ]; do u=${u%/*}; done
  [ -n "$u" ] && cd -P "$u/of_node" && u=$PWD; cd /
  [ -n "$u" ] || return
  while [ -n "$u" ] && [ "${u##*/}" != devicetree ]; do
    [ -e "$u/dma-coherent" ] && { printf 'device\t%s/coherent\tyes\n' "$1"; return; }
    [ -e "$u/dma-noncoherent" ] && break
    u=${u%/*}
  done
  printf 'device\t%s/coherent\tno\n' "$1"
}
everything() {
cd /
for g in /sys/kernel/iommu_groups/*; do
  [ -d "$g" ] || continue
  get group "${g##*/}/type" "$g/type"
  for d in "$g"/devices/*; do
    [ -e "$d" ] && printf 'group\t%s/device\t%s\n' "${g##*/}" "${d##*/}"
  done
done
for d in /sys/bus/pci/devices/*; do [ -d "$d" ] && device "$d"; done
for c in /sys/class/drm/card* /sys/class/drm/renderD* /sys/class/video4linux/*; do
  case ${c##*/} in *-*) continue;; esac
  [ -d "$c" ] || continue
  kind=drm; [ "${c#*/drm/}" = "$c" ] && kind=v4l2
  get node "$kind/${c##*/}/name" "$c/name"
  get node "$kind/${c##*/}/dev" "$c/dev"
  if [ -d "$c/device" ]; then
    link node "$kind/${c##*/}/device" "$c/device"
    link node "$kind/${c##*/}/driver" "$c/device/driver"
    cd -P "$c/device"; p=$PWD; cd /
    case $p in */pci*) ;; *) device "$p";; esac
    while [ -n "$p" ]; do
      case ${p##*/} in
      ????:??:??.?) printf 'node\t%s/%s/pci\t%s\n' "$kind" "${c##*/}" "${p##*/}"; break;;
      esac
      p=${p%/*}
    done
  fi
done
for h in /dev/dma_heap/*; do [ -e "$h" ] && printf 'heap\t%s\tyes\n' "${h##*/}"; done
for a in /sys/kernel/mm/cma/*; do
  [ -d "$a" ] && get cma "${a##*/}" "$a/total_pages"
done
[ -e /dev/udmabuf ] && printf 'udmabuf\tdevice\tyes\n'
get udmabuf size_limit_mb /sys/module/udmabuf/parameters/size_limit_mb
get udmabuf list_limit /sys/module/udmabuf/parameters/list_limit
while read -r k v u; do
  case $k in CmaTotal:|CmaFree:|MemTotal:|Hugetlb:) printf 'memory\t%s\t%s\n' "${k%:}" "$v";; esac
done < /proc/meminfo
[ -r /run/farm-unloaded ] && while read -r k m w; do
  printf 'unloaded\t%s/%s\t%s\n' "$k" "$m" "$w"
done < /run/farm-unloaded
get board model /sys/firmware/devicetree/base/model
get board kernel /proc/sys/kernel/osrelease
get board version /proc/sys/kernel/version
get board cmdline /proc/cmdline
get board boot_id /proc/sys/kernel/random/boot_id
get board cpus /sys/devices/system/cpu/online
get board uboot /sys/firmware/devicetree/base/chosen/u-boot,version
for f in vendor version date; do get board bios_$f /sys/class/dmi/id/bios_$f; done
get board swiotlb /sys/kernel/debug/swiotlb/io_tlb_nslabs
echo done
}
all=$(everything)
printf '%s\n' "$all"
"""
"""For any POSIX shell; prints one tab-separated record a line and ``done`` at the end."""

_NOT_IN_SYSFS = {
    "max_segment_size": "the kernel has no sysfs attribute for it",
    "dma_mask_bits": "sysfs has it for PCI devices only",
    "coherent": "only a device tree says it, and not of devices that no bus describes",
}
_NO_CMA_AREAS = (
    "no area in /sys/kernel/mm/cma: a kernel without CONFIG_CMA_SYSFS, or none is set up; "
    "CmaTotal of memory_kib is all of them together"
)


def discover(shell: Callable[[str], str]) -> dict[str, Any]:
    """Run the script through ``shell`` and return the board's topology.

    Returns:
        plain JSON: ``iommu_groups`` (id, type, devices), ``devices`` by name (driver, iommu,
        iommu_group, dma_mask_bits, coherent …), ``drm`` and ``v4l2`` nodes (node, name, device,
        driver, and pci: the PCI function they belong to), ``heaps``, ``udmabuf``, ``cma`` (pages
        of each area), ``memory_kib``, ``board``,
        ``unloaded`` (kind, module, reason: what the image was to load at boot and did not), and
        under ``absent`` what cannot be had, with the reason.

    Raises:
        ProtocolError: the output is cut short or is no such list.
    """
    return parse(shell(SCRIPT))


def parse(output: str) -> dict[str, Any]:
    """Return the topology that the script's output tells; see :func:`discover`."""
    lines = output.rstrip("\n").split("\n")
    if lines[-1] != "done" or len(output) > MAX_OUTPUT:
        raise ProtocolError(
            f"the board's topology is cut off or too long: {len(output)} characters, "
            f"limit {MAX_OUTPUT}"
        )
    groups: dict[str, dict[str, Any]] = {}
    devices: dict[str, dict[str, str]] = {}
    nodes: dict[str, dict[str, dict[str, str]]] = {"drm": {}, "v4l2": {}}
    flat: dict[str, dict[str, str]] = {
        section: {} for section in ("heap", "udmabuf", "cma", "memory", "board")
    }
    unloaded: list[dict[str, str]] = []
    for line in lines[:-1]:
        section, _, rest = line.partition("\t")
        key, tab, value = rest.partition("\t")
        value = value.replace("\x00", "").strip()
        *path, field = key.split("/")
        if not tab:
            raise ProtocolError(f"the board's topology has a line {line[:120]!r}")
        if section == "group" and len(path) == 1:
            group = groups.setdefault(path[0], {"id": path[0], "type": "", "devices": []})
            if field == "device":
                group["devices"].append(value)
            else:
                group["type"] = value
        elif section == "device" and len(path) == 1:
            devices.setdefault(path[0], {})[field] = value
        elif section == "node" and len(path) == 2 and path[0] in nodes:
            nodes[path[0]].setdefault(path[1], {"node": path[1]})[field] = value
        elif section == "unloaded" and len(path) == 1:
            unloaded.append({"kind": path[0], "module": field, "reason": value})
        elif section in flat:
            flat[section][key] = value
        else:
            raise ProtocolError(f"the board's topology has a line {line[:120]!r}")
    return {
        "iommu_groups": sorted(groups.values(), key=lambda group: _natural(str(group["id"]))),
        "devices": dict(sorted(devices.items())),
        "drm": [nodes["drm"][name] for name in sorted(nodes["drm"], key=_natural)],
        "v4l2": [nodes["v4l2"][name] for name in sorted(nodes["v4l2"], key=_natural)],
        "heaps": sorted(flat["heap"]),
        "udmabuf": flat["udmabuf"],
        "cma": flat["cma"],
        "memory_kib": flat["memory"],
        "board": flat["board"],
        "unloaded": unloaded,
        "absent": _NOT_IN_SYSFS | ({} if flat["cma"] else {"cma": _NO_CMA_AREAS}),
    }


def _natural(name: str) -> tuple[str, int]:
    head = name.rstrip("0123456789")
    tail = name[len(head) :][:18]
    return head, int(tail) if tail else -1
