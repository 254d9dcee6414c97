"""What a board has and nobody declares: addresses held against declarations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.model import Device, DeviceKind
from farm.pytest_plugin.undeclared import undeclared


def declared(*addresses: str) -> list[Device]:
    return [
        Device(f"device-{number}", DeviceKind(one.partition(":")[0]), "driver", one, True, True)
        for number, one in enumerate(addresses)
    ]


def test_what_is_declared_or_left_out_is_known() -> None:
    found = ["heap:system", "drm:panthor", "m2m:rga", "v4l2:fdee0000.hdmi_receiver"]
    devices = declared("drm:panthor", "v4l2:fdee0000.hdmi_receiver")
    assert undeclared(found, devices, ()) == ["heap:system", "m2m:rga"]
    assert undeclared(found, devices, ["m2m:rga", "heap:system"]) == []


def test_one_device_may_have_several_names() -> None:
    assert undeclared(["drm:cirrus-qemu"], declared("drm:cirrus,cirrus-qemu"), ()) == []
    assert undeclared(["v4l2:vivid-000"], declared("v4l2:platform:vivid-000"), ()) == []
    assert undeclared(["drm:cirrus"], declared("drm:cirrus-qemu"), ()) == ["drm:cirrus"]


def test_a_kind_of_its_own_is_another_device() -> None:
    assert undeclared(["m2m:codec"], declared("v4l2:codec"), ()) == ["m2m:codec"]


@given(st.lists(st.sampled_from(["drm:a", "drm:b,c", "heap:a", "v4l2:a,b", "m2m:platform:a"])))
def test_what_a_device_is_found_by_declares_it(addresses: list[str]) -> None:
    assert undeclared(addresses, declared(*addresses), ()) == []
    assert undeclared(addresses, [], addresses) == []
