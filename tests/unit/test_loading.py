"""Modules that did not load: the driver under test ends the job, any other is complained about."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_board import ScriptedConsole, ScriptedRig, passes, small_payload

from farm.board.complaints import sentence
from farm.board.lifetime import BoardLifetime
from farm.board.loading import DriverNotLoaded, blame_driver, check_drivers
from farm.board.topology import parse
from farm.errors import BootError
from farm.inventory import load_board_type

CONFIG = Path(__file__).parents[2] / "board-configs" / "virt-noiommu.yaml"
LOADING = "[    0.9] farm: loading driver my-codec"
LOADED = "[    1.0] farm: loaded driver my-codec"
CANNOT = "[    1.0] farm: cannot load driver my-codec: no such device"
FAILED = BootError("no SSH within 90 s of power-on")


def console(*lines: str) -> ScriptedConsole:
    made = ScriptedConsole()
    made.say(*lines)
    return made


def test_a_module_of_the_image_is_complained_about() -> None:
    rows = parse(["unloaded\tmodule/vivid\tinvalid argument; the kernel says: vivid: no"])
    said = "[    1.0] farm: cannot load module vivid: invalid argument"
    (event,) = check_drivers(rows, console("Linux", said, "ready"))
    assert not event.fatal and event.line_number == 1
    assert sentence(event) == (
        "the image's kernel module vivid did not load: invalid argument; the kernel says: vivid: no"
    )


def test_a_driver_under_test_ends_it() -> None:
    rows = parse(["unloaded\tmodule/vivid\tx", "unloaded\tdriver/my-codec\tno such device"])
    with pytest.raises(DriverNotLoaded, match="driver under test my-codec did not load: no such"):
        check_drivers(rows, console(LOADING, CANNOT))
    assert check_drivers(parse([]), console(LOADING, LOADED)) == []


@pytest.mark.parametrize("lines", [[LOADING], [LOADING, CANNOT], [LOADED, LOADING]])
def test_a_boot_that_ends_in_a_driver_under_test_is_its_fault(lines: list[str]) -> None:
    with pytest.raises(DriverNotLoaded, match="my-codec did not load: no SSH within 90 s") as told:
        blame_driver(FAILED, console("Linux", *lines, "Internal error: Oops: 1 [#1] SMP"))
    assert told.value.excerpt[-1] == "Internal error: Oops: 1 [#1] SMP"
    assert told.value.fatal


@pytest.mark.parametrize("lines", [[], [LOADING, LOADED], [CANNOT.replace("driver", "module")]])
def test_any_other_boot_that_fails_is_not(lines: list[str]) -> None:
    blame_driver(FAILED, console("Linux", *lines, "Internal error: Oops: 1 [#1] SMP"))


def test_such_a_boot_is_not_tried_again(tmp_path: Path) -> None:
    rig = ScriptedRig({"c": passes}, boots=[False, True])
    rig.says = [LOADING]
    life = BoardLifetime(rig, load_board_type(CONFIG), small_payload(tmp_path), ())
    with pytest.raises(DriverNotLoaded):
        life.session()
    assert rig.log == ["boot"]
