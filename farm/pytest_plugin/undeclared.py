"""What a board has and neither its config nor the image's profile says a word about."""

from __future__ import annotations

from collections.abc import Iterable

from farm.model import Device


def undeclared(
    found: Iterable[str], devices: Iterable[Device], left_out: Iterable[str]
) -> list[str]:
    """Return the addresses of ``found`` that no device has and that nobody left out, in order.

    ``drm:cirrus,cirrus-qemu`` are two names of one device, ``v4l2:platform:vivid-000`` is
    ``v4l2:vivid-000``.
    """
    known = {one for device in devices for one in _names(device.address)}
    known |= {one for address in left_out for one in _names(address)}
    return sorted(address for address in set(found) if not known & _names(address))


def _names(address: str) -> set[str]:
    kind, _, name = address.partition(":")
    names = name.split(",") if kind == "drm" else [name.removeprefix("platform:")]
    return {f"{kind}:{one}" for one in names}
