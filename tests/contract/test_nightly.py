"""Nights from plan to morning report, in a real lab whose boards no test here has to boot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from documented import documented
from receivers import mail_server, web_server
from suite_files import write_suite

ROOT = Path(__file__).parents[2]

CONFIG = """\
imports: [farm.board.labgrid]
targets:
  main:
    resources:
      RemotePlace: {name: '+'}
    drivers:
      NetworkPowerDriver: {delay: 0.1}
      ParamikoSSHDriver: {}
      BoardStrategy: {}
farm:
  board_type: sample
  description: a board with an outlet, and nobody who answers by SSH
  image: installed
  limits: {boot_s: 1}
  ssh: {key: client_key, known_hosts: known_hosts}
"""

SUITE = """\
from pathlib import Path

import pytest

SAYS = Path(__file__).parent / "says"

def job_of(request):
    return Path(request.config.getoption("farm_journal")).parent.name

def time_of(request, times={}):
    times[request.node.name] = times.get(request.node.name, 0) + 1
    return f"{job_of(request)}:{times[request.node.name]}"

def said(request):
    with (SAYS / "ran").open("a") as file:
        file.write(request.node.name + "\\n")
    return (SAYS / request.node.name).read_text().split()

@pytest.mark.requirement("MAP-9")
def test_reported(request):
    said(request)

@pytest.mark.requirement("MAP-1")
def test_broken(request):
    assert said(request) == []

@pytest.mark.requirement("SHR-3")
def test_flaky(request):
    assert time_of(request) not in said(request)

def test_here_only(request):
    assert job_of(request).split(".")[0] not in said(request)
"""

TESTS = ("test_reported", "test_broken", "test_flaky", "test_here_only")


class Nights:
    """A project with a suite whose tests do what files say, and the command line on it."""

    def __init__(self, folder: Path, lab: Any) -> None:
        self.folder = folder
        for name in ("board-configs", "testsuites"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "board-configs" / "sample.yaml").write_text(CONFIG)
        for name in ("client_key", "known_hosts"):
            (folder / "board-configs" / name).write_text("")
        self.suite = write_suite(folder / "testsuites" / "night")
        (self.suite / "test_night.py").write_text(SUITE)
        (self.suite / "says").mkdir()
        self.says()
        kept = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
        self.variables = {**kept, "FARM_ROOT": str(folder), "LG_COORDINATOR": lab.address}

    def says(self, **words: str) -> None:
        for name in TESTS:
            (self.suite / "says" / name).write_text(words.get(name, ""))

    def plan(self, **more: Any) -> str:
        body = {"description": "a night", "boards": ["sample"], "suites": ["night"], **more}
        path = self.folder / "short.yaml"
        path.write_text(json.dumps(body))  # JSON is YAML
        return str(path)

    def __call__(self, *words: str) -> tuple[int, Any, str]:
        """Return exit code, the object on stdout, and stderr of ``farm WORDS --json``."""
        done = subprocess.run(
            [sys.executable, "-c", "from farm.cli.main import main; main()", *words, "--json"],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def ran(self) -> list[str]:
        """Return the tests that ran since last time, in their order."""
        path = self.suite / "says" / "ran"
        names = path.read_text().split()
        path.unlink()
        return names


@pytest.fixture
def nights(tmp_path: Path, sample_lab: Any) -> Nights:
    return Nights(tmp_path / "project", sample_lab)


def test_three_nights(nights: Nights) -> None:
    with web_server() as hooks, mail_server() as mails:
        nights.variables["FARM_SMTP"] = f"smtp://127.0.0.1:{mails.port}"
        nights.variables["HOOK"] = hooks.url
        tell = [{"mail": ["lab@example.org"], "when": "trouble"}, {"webhook_from": "HOOK"}]
        plan = nights.plan(tell=tell, retry={"new": 3}, time_box="1h")

        code, first, err = nights("nightly", plan)
        assert (code, first["headline"]) == (0, "all is well"), err
        assert [job["job"] for job in first["jobs"]] == ["board-1"]
        assert nights.ran() == ["test_flaky", "test_broken", "test_here_only", "test_reported"]
        assert [one["to"] for one in first["told"]] == ["webhook at 127.0.0.1"]
        assert (len(hooks.posts), mails.letters) == (1, [])

        failing = {"test_broken": "always", "test_here_only": "board-1"}
        nights.says(**failing, test_flaky="board-1:1 board-1.repeat:3")
        code, second, err = nights("nightly", plan)
        assert code == 1, err
        assert sorted(job["job"] for job in second["jobs"]) == [
            "board-1", "board-1.repeat", "board-2.repeat",
        ]  # fmt: skip
        new = {row["nodeid"].partition("::")[2]: row for row in second["new"]}
        told = {name: row["judgement"]["text"] for name, row in new.items()}
        assert told == {
            "test_broken": "regression: failed 4 of 4 times on board-1, 3 of 3 times on board-2",
            "test_here_only": "this board only: failed 4 of 4 times on board-1, "
            "0 of 3 times on board-2",
        }
        (flaky,) = second["flaky"]
        assert flaky["judgement"]["text"].startswith("flaky (2 of 7): ")
        assert second["against"] == first["run"]
        assert len(hooks.posts) == 2 and "2 new, 1 flaky" in hooks.posts[1]["text"]
        (letter,) = mails.letters
        assert letter["Subject"] == f"[farm] short: 2 new, 1 flaky ({second['run']})"
        page = Path(second["morning"]).read_text()
        assert "2 new, 1 flaky" in page and Path(second["report"]).is_file()
        assert nights("show", second["run"])[1]["cases"][0]["test"] == "test_flaky"
        nights.ran()

        code, preview, err = nights("nightly", plan, "--dry-run")
        assert code == 0, err
        (kind,) = preview["parts"][0]["board_types"]
        assert [(one["nodeid"].partition("::")[2], one["rank"]) for one in kind["tests"]] == [
            ("test_flaky", "troubled"),
            ("test_broken", "troubled"),
            ("test_here_only", "troubled"),
            ("test_reported", "usual"),
        ]
        names = {*preview, *preview["tell"][0], *preview["parts"][0], *kind, *kind["tests"][0]}
        assert documented("farm nightly PLAN --dry-run --json") == names

        nights.says()
        hooks.statuses = [404]
        plan = nights.plan(tell=tell[1:], time_box="0.001s")
        code, third, err = nights("nightly", plan)
        assert code == 3, err
        assert {row["reason"] for row in third["not_run"]} == {"never ran: the time box ended"}
        assert len(third["not_run"]) == 4
        assert not (nights.suite / "says" / "ran").exists()
        (told_to,) = third["told"]
        assert told_to["tries"] == 1
        assert told_to["problem"].startswith("webhook at 127.0.0.1 answered 404")
        assert "webhook at 127.0.0.1: not told" in err and "secret" not in err


def test_a_board_that_is_not_to_be_had_costs_the_others_nothing(
    nights: Nights, sample_lab: Any
) -> None:
    with sample_lab.client("ann") as ann:
        ann.acquire("board-2")
        code, body, err = nights("nightly", nights.plan(boards=["board-2", "board-1"]))
        assert code == 3, err
        assert body["verdicts"] == {"PASS": 4}
        assert [job["board"] for job in body["jobs"]] == ["board-1"]
        (trouble,) = body["troubles"]
        assert "board-2" in trouble and "testhost/ann" in trouble
        assert ann.places()["board-2"].holder == "testhost/ann"


def test_a_night_whose_controller_died_is_finished_and_told_before_the_next(
    nights: Nights, sample_lab: Any
) -> None:
    """Two images, a board each; killed when the first part's jobs are over, and nothing else."""
    with sample_lab.client() as client:
        for board, image in (("board-1", "debian-13"), ("board-2", "debian-12")):
            client.set_tags(board, {"image": image})
    nights.says(test_broken="always")
    with web_server() as hooks:
        plan = nights.plan(
            boards=[], images=["debian-13", "debian-12"], tell=[{"webhook": hooks.url}],
            match={"board_type": "sample"}, retry={"new": 1}, time_box="1h",
        )  # fmt: skip
        nights.variables["FARM_FAILPOINT"] = "controller.finished=kill"
        code, _, err = nights("nightly", plan)
        assert (code, hooks.posts) == (-signal.SIGKILL, []), err
        assert set(nights.ran()) == set(TESTS)
        del nights.variables["FARM_FAILPOINT"]

        code, second, err = nights("nightly", plan)
        assert code == 1, err
        dead = second["against"]
        ran = Counter(nights.ran())
        assert ran["test_broken"] == 1 + 2 + 2  # repeated; the other part, repeated; tonight
        assert ran["test_reported"] == 1 + 2
        died, tonight = (post["text"] for post in hooks.posts)
        assert f"[farm] short: 2 new ({dead})" in died and "its controller died" in died
        assert "regression: failed 2 of 2 times on board-1" in died
        assert "2 still broken" in tonight
    left = Path(second["morning"]).parents[1] / dead
    assert {path.name for path in left.iterdir()} == {
        "board-1.debian-13", "board-1.debian-13.repeat", "report.html",
        "board-2.debian-12", "board-2.debian-12.repeat", "morning.html",
    }  # fmt: skip
    assert {row["image"] for row in second["still"]} == {"debian-12", "debian-13"}


def test_infra_is_retried_on_another_board(nights: Nights) -> None:
    (nights.suite / "test_night.py").write_text(
        "def test_board(board):\n    pass\n\ndef test_other():\n    pass\n"
    )
    code, body, err = nights("run", "night", "-b", "board-1", "--retry-infra", "--no-check")
    assert code == 3, err
    jobs = {job["board"]: job for job in body["jobs"]}
    assert jobs["board-2"]["purpose"] == "retry" and jobs["board-2"]["follows"] == ["board-1"]
    assert jobs["board-2"]["verdicts"] == {}
    rows = {row["test"]: row for row in nights("show", body["run"])[1]["cases"]}
    assert rows["test_board"]["judgement"]["text"].startswith("still open: INFRA again on board-2")


NEVER: list[tuple[dict[str, Any], str]] = [
    ({"match": {"rack": "7"}}, "match: no board of the lab at {lab} has rack=7, free or not"),
    ({"boards": ["sample"] * 3}, "boards.0: the lab at {lab} has 2 of 'sample', the plan wants 3"),
    (
        {"boards": ["board-2", "sample", "sample"]},
        "boards.1: the lab at {lab} has 1 of 'sample' that the plan does not name besides, the "
        "plan wants 2",
    ),
    ({"keyword": "and"}, "keyword: Wrong expression passed to '-k'"),
    ({"markers": "fulll"}, "markers: -m: no marker 'fulll'"),
    ({"boards": ["sampel"]}, "boards.0: 'sampel' is neither a board of this lab nor a board type"),
    (
        {"images": ["debian-12"]},
        "images.0: no board of the lab at {lab} boots 'debian-12'; they boot what is on them",
    ),
    ({"requirements": ["MAP-99"]}, "requirements.0: no requirement 'MAP-99' (did you mean"),
    ({"features": ["iomu"]}, "features: --feature 'iomu': no board type and no image declares it"),
    ({"tell": [{"command": ["./none"]}]}, "tell.0: there is no program './none'"),
]


def test_what_can_never_be_is_said_at_the_start(nights: Nights, sample_lab: Any) -> None:
    for more, said in NEVER:
        code, _, err = nights("nightly", nights.plan(**more))
        assert code == 2, (more, err)
        assert f"{nights.folder}/short.yaml:1: {said.format(lab=sample_lab.address)}" in err, more
    assert not (nights.suite / "says" / "ran").exists()
