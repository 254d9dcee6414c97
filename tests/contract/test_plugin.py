"""The pytest plugin from outside: out of the way without a board, spread over devices with one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_project import CONFIGS, Project
from suite_files import suite_toml

from farm import inventory
from farm.events import ImageInfo, JobStarted, Plan, read_journal
from farm.run.job import LATE, TIME_BOX
from farm.run.journal import JournalWriter
from farm.run.view import JobView
from farm.run.worker import Ending, ending

SUITE = """
import pytest
from farm.pytest_plugin.api import control

@pytest.mark.requirement("MAP-1", "MAP-2")
@pytest.mark.case("import_twice")
@pytest.mark.over(importer="drm importer")
def test_spread(board, importer):
    pass

@pytest.mark.over(heap="heap")
def test_nothing_declared(board, heap):
    pass

def test_plain():
    control(1)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.write("suite/suite.toml", suite_toml("suite"))
    made.write("suite/test_it.py", SUITE)
    return made


def ids(output: str) -> list[str]:
    return [line for line in output.splitlines() if "::" in line]


def test_out_of_the_way_without_a_board(project: Project) -> None:
    done = project.pytest("--strict-markers", "suite")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 skipped" in done.stdout
    assert "no board: give --lg-env" in done.stdout
    assert "board type:" not in done.stdout and "journal:" not in done.stdout
    assert sorted(path.name for path in project.folder.iterdir()) == ["suite"]


def test_out_of_the_way_of_a_plain_labgrid_config(project: Project) -> None:
    project.write("plain.yaml", "targets:\n  main:\n    resources: {}\n")
    done = project.pytest("--lg-env", "plain.yaml", "suite")
    assert "1 passed, 2 skipped" in done.stdout


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_spread_over_what_is_declared_without_a_lab(project: Project, config: Path) -> None:
    board_type = inventory.load_board_type(config)
    profile = inventory.load_image_profile(board_type.image)
    importers = [
        device.id
        for device in inventory.devices(board_type, profile)
        if device.kind == "drm" and device.imports
    ]
    done = project.pytest("--lg-env", str(config), "suite", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout
    assert ids(done.stdout) == [
        *(f"suite/test_it.py::test_spread[{name}]" for name in importers or ["none"]),
        "suite/test_it.py::test_nothing_declared[none]",
        "suite/test_it.py::test_plain",
    ]
    assert sorted(path.name for path in project.folder.iterdir()) == ["suite"]


def test_what_takes_long_runs_only_where_it_is_asked_for(project: Project) -> None:
    project.write(
        "suite/test_it.py",
        "import pytest\n@pytest.mark.full\ndef test_long(): pass\ndef test_short(): pass\n",
    )
    words = ("--lg-env", str(CONFIGS / "virt-smmuv3.yaml"), "--collect-only", "-q")
    long, short = (f"suite/test_it.py::test_{name}" for name in ("long", "short"))
    for asked, wanted in (
        (("suite",), [short]),
        (("suite", "-m", "full"), [long]),
        (("suite", "-m", ""), [long, short]),
        ((long,), [long]),
    ):
        assert ids(project.pytest(*words, *asked).stdout) == wanted


def test_parts_hold_every_test_once(project: Project) -> None:
    config = str(CONFIGS / "virt-exact.yaml")
    words = ("--lg-env", config, "suite", "--collect-only", "-q")
    whole = ids(project.pytest(*words).stdout)
    parts = [ids(project.pytest(*words, f"--farm-shard={n}/2").stdout) for n in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole) and all(parts)
    for wrong in ("2/2", "x", "1"):
        done = project.pytest(*words, f"--farm-shard={wrong}")
        assert done.returncode == 4 and "expected N/OF" in done.stderr


def test_selected_tests_only_and_in_the_order_of_the_list(project: Project) -> None:
    names = ("test_plain", "test_gone", "test_nothing_declared[none]")
    project.write("chosen", "".join(f"suite/test_it.py::{name}\n" for name in names))
    config = str(CONFIGS / "virt-smmuv3.yaml")
    done = project.pytest(
        "--lg-env", config, "suite", "--farm-select", "chosen", "--collect-only", "-q"
    )
    assert ids(done.stdout) == [
        "suite/test_it.py::test_plain",
        "suite/test_it.py::test_nothing_declared[none]",
        "not collected any more: suite/test_it.py::test_gone",
    ]


def test_no_test_is_begun_once_time_is_up(project: Project) -> None:
    journal = project.folder / "journal.jsonl"
    with JournalWriter.create(journal) as writer:
        writer.write(
            JobStarted(
                run="r", job="j", board="b", board_type="virt-smmuv3", image=ImageInfo(profile="p")
            )
        )
    words = ("--lg-env", str(CONFIGS / "virt-smmuv3.yaml"), "suite", f"--farm-journal={journal}")
    done = project.pytest(*words, "--farm-until=1")
    assert done.returncode == LATE, done.stdout
    start, plan = read_journal(journal)
    assert isinstance(plan, Plan) and len(plan.tests) > 2
    view = JobView("b")
    view.add(start)
    view.add(plan)
    assert ending(done.returncode, view) == Ending(TIME_BOX, lost=False)
    done = project.pytest(*words, "--farm-until=noon")
    assert "--farm-until: found 'noon', expected seconds" in done.stderr


def test_no_lab_is_one_sentence_and_a_next_step(project: Project) -> None:
    config = str(CONFIGS / "virt-smmuv3.yaml")
    done = project.pytest(
        "--lg-env", config, "suite", LG_COORDINATOR="127.0.0.1:1", LG_TOKEN="NONE"
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "labgrid-client" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imports: []\nfarm: {bord_type: x}\n", "broken.yaml:2"),
        ("imports: [\nfarm: x\n", "broken.yaml"),
    ],
)
def test_a_wrong_config_names_file_and_line(project: Project, text: str, said: str) -> None:
    project.write("broken.yaml", text)
    done = project.pytest("--lg-env", "broken.yaml", "suite")
    assert done.returncode == 4
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_selector_names_the_nearest(project: Project) -> None:
    project.write("suite/test_it.py", SUITE.replace("drm importer", "drm importr"))
    done = project.pytest("--lg-env", str(CONFIGS / "virt-smmuv3.yaml"), "suite", "--collect-only")
    assert done.returncode != 0
    assert "did you mean 'importer'" in done.stdout + done.stderr


def test_tests_of_a_requirement_only(project: Project) -> None:
    words = ("--lg-env", str(CONFIGS / "virt-smmuv3.yaml"), "suite", "--collect-only", "-q")
    done = project.pytest(*words, "--farm-requirement=MAP-2", "--farm-requirement=SHR-1")
    assert ids(done.stdout)
    assert all(name.startswith("suite/test_it.py::test_spread[") for name in ids(done.stdout))
    done = project.pytest(*words, "--farm-requirement=MAP-22")
    assert done.returncode == 4
    assert "no requirement 'MAP-22' (did you mean 'MAP-2'?)" in done.stderr


@pytest.mark.parametrize("board", ["", "virt-smmuv3"])
def test_a_broken_suite_fails_collection_with_file_and_line(project: Project, board: str) -> None:
    file = project.write("suite/suite.toml", 'name = "suite"\ntitel = "x"\n')
    words = ("--lg-env", str(CONFIGS / f"{board}.yaml")) if board else ()
    done = project.pytest(*words, "suite", "--collect-only")
    assert done.returncode == 4
    assert f"ERROR: {file}:2: titel: unknown key (did you mean 'title'?)" in done.stderr


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ('requirement("SYN-111")', "no requirement 'SYN-111' (did you mean 'SYN-11'?)"),
        ('case("poll_fencse")', "no case 'poll_fencse' (did you mean 'poll_fences'?)"),
    ],
)
def test_a_marker_that_names_nothing_fails_collection(
    project: Project, marker: str, said: str
) -> None:
    text = f"import pytest\n\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n"
    file = project.write("suite/test_it.py", text)
    done = project.pytest("suite", "--collect-only")
    assert done.returncode == 4
    assert f"ERROR: {file}:4: {said}" in done.stderr


def test_two_cases_of_one_name_fail_collection_with_file_and_line(project: Project) -> None:
    case = 'CASE(one_name, "It has a name.")\n{\n}\n'
    project.write("testsuites/suite/suite.toml", suite_toml("suite"))
    project.write("testsuites/suite/test_it.py", "def test_it():\n    pass\n")
    one = project.write("testsuites/suite/a.c", case)
    other = project.write("testsuites/suite/b.c", '#include "farm.h"\n' + case)
    (project.folder / "board-configs").mkdir()
    done = project.pytest("testsuites", "--collect-only", FARM_ROOT=str(project.folder))
    assert done.returncode == 4
    assert f"ERROR: {other}:2: case one_name is already defined at {one}:1" in done.stderr


def test_what_is_not_declared_is_skipped_at_collection(project: Project) -> None:
    suite = """
import pytest

@pytest.mark.declared("sw_sync")
def test_needs_sw_sync():
    pass

@pytest.mark.declared("iommu")
def test_needs_an_iommu():
    pass
"""
    project.write("suite/test_it.py", suite)
    words = ("--lg-env", str(CONFIGS / "virt-smmuv3.yaml"), "suite", "--collect-only", "-q")
    assert len(ids(project.pytest(*words).stdout)) == 2
    project.write("suite/test_it.py", suite.replace("sw_sync", "sw_synk"))
    done = project.pytest(*words)
    assert done.returncode == 4
    assert "no feature 'sw_synk' (did you mean 'sw_sync'?)" in done.stderr
