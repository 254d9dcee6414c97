"""Which firmware started a board's kernel, as far as the board tells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

DIRECT = "none: QEMU loads the kernel"
UNTOLD = "untold: neither console, device tree nor DMI names it"
MAX_TOLD = 160
"""Characters that are kept of what a board tells."""

_LOADER = re.compile(r"U-Boot (?![ST]PL )\d{4}\.\d\d.*")
_PSCI = re.compile(r"psci: (PSCIv\S+) detected in firmware")


def firmware(
    told: Mapping[str, str], console: Sequence[str], *, direct: bool = False
) -> dict[str, str]:
    """Return the facts ``firmware``, and ``psci`` where the kernel's log has it.

    ``told`` is what sysfs says (:func:`farm.board.topology.parse`, key ``board``), ``console``
    the lines of the boot. The first that is there counts: U-Boot's banner on the console; its
    version in the device tree, /chosen/u-boot,version (fdt_chosen(), U-Boot 2025.07, boot/
    fdt_support.c); the BIOS of DMI (drivers/firmware/dmi-id.c, 6.12). ``direct`` says that the
    emulator loads the kernel. PSCI's line is of drivers/firmware/psci/psci.c (6.12).
    """
    facts = {"firmware": _loader(told, console) or (DIRECT if direct else UNTOLD)}
    found = (_PSCI.search(line) for line in reversed(console))
    if psci := next(filter(None, found), None):
        facts["psci"] = psci[1][:MAX_TOLD]
    return facts


def _loader(told: Mapping[str, str], console: Sequence[str]) -> str:
    found = (_LOADER.search(line) for line in reversed(console))
    if banner := next(filter(None, found), None):
        return banner[0].strip()[:MAX_TOLD]
    if version := told.get("uboot"):
        return f"U-Boot {version}"[:MAX_TOLD]
    return " ".join(filter(None, map(told.get, ("bios_vendor", "bios_version", "bios_date"))))[
        :MAX_TOLD
    ]
