"""What v4l2-compliance is called with on a node with an exporter, and what is told without one."""

from __future__ import annotations

import importlib.util
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from farm import paths
from farm.external.judging import Judged
from farm.external.videonodes import Node
from farm.model import Verdict
from farm.pytest_plugin.api import SubCase

CAMERA, OUTPUT = Node("/dev/video0", "camera", "cam"), Node("/dev/video1", "out", "cam")
RADIO = Node("/dev/radio0", "radio", "cam")


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    file = paths.testsuites() / "external" / "test_v4l2.py"
    spec = importlib.util.spec_from_file_location("external_test_v4l2", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Recording:
    """An ``external`` that runs nothing, and notes what it was to run, set and tell."""

    def __init__(self) -> None:
        self.called: dict[str, list[str]] = {}
        self.settings: list[list[str]] = []
        self.told: list[SubCase] = []
        self.programs = SimpleNamespace(devices=(), run=self._set, tell=self.told.extend)

    def _set(self, bundle: object, command: str, words: list[str], **_: object) -> None:
        self.settings.append([command, *words])

    def run(self, program: str, bundle: object, words: list[str], *_: Any, **__: Any) -> Judged:
        self.called[program] = words
        return Judged("", Verdict.PASS, "")

    def settle(self, found: list[Judged]) -> None:
        assert len(found) == len(self.called)


def run(suite: ModuleType, nodes: list[Node], info: dict[str, str]) -> Recording:
    external = Recording()
    board = SimpleNamespace(run=lambda case: SimpleNamespace(info=info))
    suite.check(external, board, SimpleNamespace(id="bundle"), nodes, None)
    return external


def test_each_node_imports_from_one_that_exports(suite: ModuleType) -> None:
    info = {"video0": "capture 0", "video1": "output 0"}
    external = run(suite, [CAMERA, OUTPUT, RADIO], info)
    last = {program: words[-1] for program, words in external.called.items()}
    assert last["v4l2-compliance:camera"] == "--expbuf-device=/dev/video1"
    assert last["v4l2-compliance:out"] == "--expbuf-device=/dev/video0"
    assert "expbuf" not in " ".join(external.called["v4l2-compliance:radio"])
    assert [words[2] for words in external.settings] == [
        "/dev/video0", "/dev/video1", "/dev/video1", "/dev/video0",
    ]  # fmt: skip
    assert not external.told


def test_a_node_without_an_exporter_has_a_case_that_says_why(suite: ModuleType) -> None:
    external = run(
        suite, [CAMERA, OUTPUT, RADIO], {"video0": "capture 0", "video1": "output EINVAL"}
    )
    (told,) = external.told
    assert (told.name, told.verdict, told.hash) == ("camera@no exporter", Verdict.SKIP, "bundle")
    assert told.reason == "no exporter for /dev/video0: /dev/video1 exports nothing: EINVAL"
    words = external.called["v4l2-compliance:camera"]
    assert words[:3] == ["v4l2-compliance", "--device", "/dev/video0"]
    assert "expbuf" not in " ".join(words)
