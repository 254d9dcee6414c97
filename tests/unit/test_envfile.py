"""labgrid's part of a board config: what is wrong is told with file, line and nearest spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import paths
from farm.board.envfile import check_environment
from farm.errors import ConfigError

GOOD = """\
imports:
  - farm.board.labgrid
targets:
  main:
    resources:
      RemotePlace:
        name: '+'
    drivers:
      NetworkPowerDriver:
        delay: 2.0
      RecordedSerialDriver: {}
      ParamikoSSHDriver: {}
      BoardStrategy: {}
"""


def config(folder: Path, text: str) -> Path:
    path = folder / "shelf.yaml"
    path.write_text(text)
    return path


def test_every_board_config_of_the_project_is_one_for_labgrid() -> None:
    found = sorted(paths.board_configs().glob("*.yaml"))
    assert found
    for path in found:
        check_environment(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            "RecordedSerialDriver: {}",
            "RecordedSerialDrivr: {}",
            11,
            "unknown driver 'RecordedSerialDrivr' (did you mean 'RecordedSerialDriver'?)",
        ),
        ("RemotePlace:", "RemotPlace:", 6, "(did you mean 'RemotePlace'?)"),
        ("delay: 2.0", "dely: 2.0", 10, "unknown argument (did you mean 'delay'?)"),
        ("delay: 2.0", "delay: 2", 10, "expected float, found 2"),
        ("BoardStrategy: {}", "BoardStrategy:", 13, "at least {}, found None"),
        ("BoardStrategy: {}", "ShellDriver: {prompt: '# '}", 13, "'login_prompt' is missing"),
        ("farm.board.labgrid", "farm.board.labgrit", 2, "No module named 'farm.board.labgrit'"),
        ("  main:", "  mine:", 3, "targets.main: expected a mapping, found None"),
        ("targets:", "targets: 1\nthings:", 3, "targets: expected a mapping, found 1"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = config(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        check_environment(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "drivers",
    [
        "      - NetworkPowerDriver: {delay: 2.0}\n      - cls: BoardStrategy\n        name: it\n",
        "      NetworkPowerDriver: {name: outlet, bindings: {port: socket}}\n",
    ],
)
def test_all_of_labgrids_ways_to_write_drivers_are_known(tmp_path: Path, drivers: str) -> None:
    head = GOOD[: GOOD.index("      NetworkPowerDriver")]
    check_environment(config(tmp_path, head + drivers))


def test_classes_of_a_file_of_the_users_own_are_left_to_labgrid(tmp_path: Path) -> None:
    text = GOOD.replace("- farm.board.labgrid", "- farm.board.labgrid\n  - mine.py")
    check_environment(config(tmp_path, text.replace("BoardStrategy", "MyStrategy")))
    with pytest.raises(ConfigError, match="unknown argument"):
        check_environment(config(tmp_path, text.replace("delay", "dely")))
