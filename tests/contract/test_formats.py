"""One run with everything in it, told in every format: the same demands on each."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from journals import HOSTILE, run_id, write_run

from farm.analysis import summarise
from farm.analysis.matrix import alike
from farm.model import Verdict
from farm.report import FORMATS
from farm.report.html import render as render_html
from farm.store import Store, ingest, load_run, open_store
from farm.store.records import RunRecord

ALL = [*FORMATS, "html"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("golden")
    with open_store(str(folder / "farm.db")) as opened:
        for number in (1, 2):
            for path in write_run(folder, number, trouble=number == 2):
                ingest(path, opened)
        yield opened


@pytest.fixture(scope="module")
def run(store: Store) -> RunRecord:
    return load_run(store, run_id(2))


@pytest.fixture(scope="module")
def texts(store: Store, run: RunRecord) -> dict[str, str]:
    told = {name: render(run) for name, render in FORMATS.items()}
    return told | {"html": render_html(store, run.id)}


def test_the_golden_run_holds_every_verdict(run: RunRecord) -> None:
    told = {test.verdict for job in run.jobs for test in job.tests}
    assert told == set(Verdict)


@pytest.mark.parametrize("name", ALL)
def test_a_format_is_told_the_same_twice(
    name: str, texts: dict[str, str], store: Store, run: RunRecord
) -> None:
    again = render_html(store, run.id) if name == "html" else FORMATS[name](run)
    assert again == texts[name]


@pytest.mark.parametrize("name", ALL)
def test_a_format_names_run_boards_and_what_there_is_to_tell(
    name: str, texts: dict[str, str], run: RunRecord
) -> None:
    text = texts[name]
    for job in run.jobs:
        assert job.board in text
        for test in job.final_tests:
            if name != "markdown" or test.verdict is not Verdict.PASS:
                assert test.test in text
    if name != "ktap":
        assert run.id in text


@pytest.mark.parametrize("name", ALL)
def test_a_format_lets_no_control_character_through(name: str, texts: dict[str, str]) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", texts[name])
    assert "\x1b" in HOSTILE and "\x00" in HOSTILE


def test_an_empty_run_can_be_told(store: Store, run: RunRecord) -> None:
    empty = RunRecord("empty", 0.0, ())
    for render in FORMATS.values():
        assert render(empty)


def test_json_counts_what_it_lists(texts: dict[str, str], run: RunRecord) -> None:
    body = json.loads(texts["json"], parse_constant=pytest.fail)
    summary = summarise(run)
    assert body["schema"] == 1
    assert body["exit"] == summary.exit == 1
    assert body["verdicts"] == Counter(case["verdict"] for case in body["cases"])
    assert {job["board"]: job["verdicts"] for job in body["jobs"]} == {
        job.board: {verdict.value: number for verdict, number in job.verdicts.items()}
        for job in summary.jobs
    }
    assert sum(len(case["samples"]) for case in body["cases"]) == sum(
        len(test.samples) for job in run.jobs for test in job.final_tests
    )


def test_junit_is_valid_and_its_names_unique(texts: dict[str, str], run: RunRecord) -> None:
    root = ElementTree.fromstring(texts["junit"])
    cases = list(root.iter("testcase"))
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names) == sum(len(job.final_tests) for job in run.jobs)
    verdicts = summarise(run).verdicts
    for kind, counted in (
        ("failure", (Verdict.FAIL, Verdict.XPASS)),
        ("error", (Verdict.ERROR, Verdict.NEW, Verdict.INFRA, Verdict.MISS)),
        ("skipped", (Verdict.SKIP, Verdict.XFAIL)),
    ):
        number = sum(verdicts.get(verdict, 0) for verdict in counted)
        assert len(list(root.iter(kind))) == number
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        for suite in (root, *root.iter("testsuite")):
            assert suite.get(attribute) == str(len(list(suite.iter(kind))))
    for suite in root.iter("testsuite"):
        assert suite.get("tests") == str(len(list(suite.iter("testcase"))))


def test_junit_numbers_names_that_repeat(run: RunRecord) -> None:
    job = run.jobs[0]
    twice = RunRecord(run.id, run.started_at, (job, job))
    cases = list(ElementTree.fromstring(FORMATS["junit"](twice)).iter("testcase"))
    names = {(case.get("classname"), case.get("name")) for case in cases}
    assert len(names) == len(cases) == 2 * len(job.final_tests)


def parse_ktap(lines: list[str], indent: str = "") -> tuple[list[tuple[str, bool, str]], int]:
    """Return (name, ok, directive) of the leaf tests of a block, and how many lines it took."""
    assert lines[0] == f"{indent}KTAP version 1"
    leaves: list[tuple[str, bool, str]] = []
    plan, results, at, nested = 0, 0, 1, False
    while at < len(lines) and lines[at].startswith(indent):
        line = lines[at].removeprefix(indent)
        if line == "  KTAP version 1":
            inner, used = parse_ktap(lines[at:], indent + "  ")
            leaves += inner
            nested = True
            at += used
            continue
        at += 1
        if line.startswith("# "):
            continue
        if match := re.fullmatch(r"1\.\.(\d+)", line):
            plan = int(match[1])
            continue
        match = re.fullmatch(r"(not )?ok (\d+) ([^#]*?)(?: # (.*))?", line)
        assert match, line
        results += 1
        assert int(match[2]) == results
        if not nested:
            leaves.append((match[3], not match[1], match[4] or ""))
        nested = False
    assert results == plan
    return leaves, at


def test_ktap_nests_and_keeps_its_plans(texts: dict[str, str], run: RunRecord) -> None:
    lines = texts["ktap"].splitlines()
    leaves, used = parse_ktap(lines)
    assert used == len(lines)
    tests = [test for job in run.jobs for test in job.final_tests]
    good = {Verdict.PASS, Verdict.SKIP, Verdict.XFAIL}
    assert Counter(ok for _, ok, _ in leaves) == Counter(test.verdict in good for test in tests)
    directives = Counter(told.split()[0] for _, ok, told in leaves if told and ok)
    assert directives == {"SKIP": 4, "XFAIL": 1}
    assert sum(told.startswith("ERROR MISS:") for _, _, told in leaves) == 2


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a text; a cell ends at a bar that no backslash precedes."""
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert cells[0] == cells[-1] == ""
            tables[-1].append([cell.strip() for cell in cells[1:-1]])
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_markdown_counts_boards_and_shows_each_pair(texts: dict[str, str], run: RunRecord) -> None:
    boards, *matrices, bad, skipped = markdown_tables(texts["markdown"])
    for table in (boards, *matrices, bad, skipped):
        assert table[1] == ["---"] * len(table[0])
        assert {len(row) for row in table} == {len(table[0])}
    counted = Counter(test.verdict.value for job in run.jobs for test in job.final_tests)
    for column, name in enumerate(boards[0]):
        if name in set(Verdict):
            assert sum(int(row[column]) for row in boards[2:]) == counted[name]
    filled = [sum(bool(cell) for row in table[2:] for cell in row[1:]) for table in matrices]
    assert filled == [len(matrix.cells) for _, matrix in alike(run.counting)] != []
    assert {row[0] for row in bad[2:]} == set(counted) - {"PASS", "SKIP"}
    assert {row[0] for row in skipped[2:]} == {"SKIP"}


def test_markdown_obeys_no_text_of_a_board(texts: dict[str, str]) -> None:
    text = texts["markdown"]
    assert "\\<script\\>alert('farm')" in text
    assert not re.search(r"(?<!\\)[<>`*]", text)


class Page(HTMLParser):
    """Collects what a browser would run or fetch, and every element's ids and classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.words: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                if value and value.startswith("#"):
                    self.links.add(value[1:])
                else:
                    self.fetched.append(f"{tag} {value}")
            elif name.startswith("on"):
                self.handlers.append(f"{tag} {name}")
            elif name == "id" and value:
                self.ids[value] += 1
            elif name == "content" and value and "default-src" in value:
                self.policy = value

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_fetches_nothing_and_runs_only_its_own_script(texts: dict[str, str]) -> None:
    page = Page(texts["html"])
    assert page.fetched == []
    assert page.handlers == []
    assert page.tags["script"] == 1
    assert "default-src 'none'" in page.policy
    assert "@import" not in texts["html"] and "url(http" not in texts["html"]


def test_html_links_lead_somewhere_and_ids_are_unique(texts: dict[str, str]) -> None:
    page = Page(texts["html"])
    assert page.links <= set(page.ids)
    assert [name for name, number in page.ids.items() if number > 1] == []


def test_html_shows_hostile_text_and_obeys_none_of_it(texts: dict[str, str]) -> None:
    page = Page(texts["html"])
    shown = "".join(page.words)
    assert "<script>alert('farm')</script> red \\x00 ]]> \\x07 & \\ufffe" in shown
    assert "<script>alert" not in texts["html"]


def test_html_puts_first_what_matters(texts: dict[str, str]) -> None:
    text = texts["html"]
    assert "<h1>5 of 162 tests failed</h1>" in text
    sections = re.findall(r'<section id="(\w+)">', text)
    assert sections == [
        "failures",
        "boards",
        "topology",
        "sharing",
        "metrics",
        "requirements",
        "cases",
        "absent",
    ]
    shown = "".join(Page(text).words)
    for wanted in (
        "Kernel panic - not syncing: Oops: Fatal exception",
        f"farm run --failed {run_id(2)}",
        "new: PASS in the run before",
        "linux-image-6.12.107+deb13-arm64",
        "qemu-7.2.22",
        "0000:00:02.0 (cirrus)",
        "the kernel has no PMU driver for this CPU",
        "EFAULT",
        "compared with 1 earlier run",
    ):
        assert wanted in shown, wanted


def test_html_of_a_second_run_shows_each_metrics_earlier_value(
    store: Store, texts: dict[str, str]
) -> None:
    first, second = render_html(store, run_id(1)), texts["html"]
    assert "All 159 tests passed" in first
    assert "first run of its series" in first and "earlier run" not in first.split("</header>")[0]
    assert 'class="spark"' not in first
    assert second.count('class="spark"') > 200
    assert re.search(r"was \d[\d.]*\u202f(?:ns|µs|ms)", second)
    assert "same in 1 earlier run" in second


def test_html_stays_small(texts: dict[str, str]) -> None:
    assert len(texts["html"].encode()) < 5 << 20


def test_html_is_written_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    from farm.report.html import write_html

    path = write_html(store, run_id(2), tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(path.parent.iterdir()) == [path]
