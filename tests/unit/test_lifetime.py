"""A board's lifetime: boots are retried within bounds, then the board is given up."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_board import ScriptedRig, cut, passes, small_payload

from farm.board.lifetime import BoardGone, BoardLifetime
from farm.errors import BoardError, LinkLost
from farm.inventory import BoardType, load_board_type

WARNING = "[    8.0] WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-buf.c:1 f+0x0/0x10"
CONFIG = Path(__file__).parents[2] / "board-configs" / "virt-noiommu.yaml"


@pytest.fixture(scope="module")
def board_type() -> BoardType:
    return load_board_type(CONFIG)


@pytest.fixture
def states() -> list[str]:
    return []


def lifetime(
    rig: ScriptedRig, board_type: BoardType, folder: Path, states: list[str]
) -> BoardLifetime:
    return BoardLifetime(
        rig,
        board_type,
        small_payload(folder),
        (),
        on_state=lambda state, detail: states.append(state),
    )


def test_one_boot_serves_many_tests(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({"c": passes})
    life = lifetime(rig, board_type, tmp_path, states)
    assert life.session() is life.session()
    life.off()
    assert rig.log == ["boot", "off"]
    assert states == ["booting", "ready", "off"]


def test_a_board_that_nobody_used_is_left_alone(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({})
    lifetime(rig, board_type, tmp_path, states).off()
    assert rig.log == [] and states == []


def test_a_failed_boot_is_tried_again(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({"c": passes}, boots=[False, True])
    lifetime(rig, board_type, tmp_path, states).session()
    assert rig.log == ["boot", "boot"]
    assert states == ["booting", "rebooting", "ready"]


def test_a_board_that_never_boots_is_given_up(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    life = lifetime(ScriptedRig({}, boots=[False] * 9), board_type, tmp_path, states)
    with pytest.raises(BoardGone, match="3 boots failed, the last: scripted: no SSH"):
        life.session()
    assert life.gone and life.boots == 3
    with pytest.raises(BoardGone):
        life.session()
    assert life.boots == 3


def test_what_no_boot_mends_is_not_tried_again(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({}, boots=[BoardError("host key is x, expected y", next_step="check it")])
    life = lifetime(rig, board_type, tmp_path, states)
    with pytest.raises(BoardGone, match="host key") as caught:
        life.session()
    assert caught.value.next_step == "check it"
    assert life.boots == 1


def test_what_ended_the_last_session_is_told_with_what_no_boot_mends(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    outlet = BoardError("scripted-1: the power outlet does not answer", next_step="check it")
    life = lifetime(ScriptedRig({"c": cut}, boots=[True, outlet]), board_type, tmp_path, states)
    with pytest.raises(LinkLost):
        life.session().run("c", {})
    with pytest.raises(BoardGone) as caught:
        life.session()
    assert str(caught.value).startswith(
        "scripted-1: the power outlet does not answer; before that: case c: scripted: the channel"
    )


def test_reboots_are_bounded(board_type: BoardType, tmp_path: Path, states: list[str]) -> None:
    life = lifetime(ScriptedRig({"c": cut}), board_type, tmp_path, states)
    for _ in range(board_type.limits.reboots + 1):
        with pytest.raises(LinkLost):
            life.session().run("c", {})
    with pytest.raises(BoardGone, match=f"{board_type.limits.reboots} reboots are used up"):
        life.session()


def test_complaints_leave_out_the_boots_that_were_meant(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({"c": passes}, boots=[False, True])
    life = lifetime(rig, board_type, tmp_path, states)
    life.session()
    rig.console.say("[    0.0] Booting Linux on physical CPU 0x0")
    assert [entry.event.pattern for entry in life.complaints()] == ["boot_banner"]
    assert life.complaints() == []


def test_a_board_that_boots_on_after_it_was_given_up_is_no_tests_failure(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({}, boots=[False] * 3)
    life = lifetime(rig, board_type, tmp_path, states)
    with pytest.raises(BoardGone):
        life.session()
    rig.console.say(WARNING, "[    0.0] Booting Linux on physical CPU 0x0")
    assert [(one.event.pattern, one.excused) for one in life.complaints()] == [("warning", True)]
    assert life.complaints() == []


def test_a_boots_complaints_are_excused_and_those_before_it_are_not(
    board_type: BoardType, tmp_path: Path, states: list[str]
) -> None:
    rig = ScriptedRig({"c": passes})
    life = lifetime(rig, board_type, tmp_path, states)
    rig.says = [WARNING]
    life.session().run("c", {})
    rig.console.say(WARNING)
    life.discard()
    life.session()
    assert [entry.excused for entry in life.complaints()] == [True, False, True]
