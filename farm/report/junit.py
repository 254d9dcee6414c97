"""JUnit XML: one testsuite per board and suite, unique ``classname.name``.

XFAIL is a skip, XPASS a failure, as pytest has it; NEW, INFRA and MISS are errors whose ``type``
tells them apart. What XML forbids is shown as ``\\xNN``.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from farm.analysis.judgement import Judgement, Judgements, judge
from farm.model import Verdict
from farm.report.text import iso, one_line, plain
from farm.store.records import JobRecord, RunRecord, TestRecord

_ELEMENT = {
    Verdict.FAIL: "failure",
    Verdict.XPASS: "failure",
    Verdict.ERROR: "error",
    Verdict.NEW: "error",
    Verdict.INFRA: "error",
    Verdict.MISS: "error",
    Verdict.SKIP: "skipped",
    Verdict.XFAIL: "skipped",
}


def render(run: RunRecord) -> str:
    """Return the run's final verdicts as JUnit XML."""
    root = ET.Element("testsuites", name=plain(run.id))
    taken: set[tuple[str, str]] = set()
    judged = judge(run)
    for job in run.counting:
        suites: dict[str, list[TestRecord]] = {}
        for test in job.final_tests:
            suites.setdefault(test.suite, []).append(test)
        for suite, tests in suites.items():
            root.append(_suite(job, suite, tests, taken, judged))
    _sum_up(root, [test for job in run.jobs for test in job.final_tests])
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _suite(
    job: JobRecord,
    suite: str,
    tests: list[TestRecord],
    taken: set[tuple[str, str]],
    judged: Judgements,
) -> ET.Element:
    element = ET.Element(
        "testsuite",
        name=plain(f"{job.board}.{suite}"),
        hostname=plain(job.board),
        timestamp=iso(job.started_at),
    )
    _sum_up(element, tests)
    properties = ET.SubElement(element, "properties")
    for name, value in (
        ("board_type", job.board_type),
        ("kernel", job.kernel),
        ("image", f"{job.image.profile} {job.image.id}".strip()),
        *((f"hardware.{name}", value) for name, value in job.hardware.items()),
    ):
        ET.SubElement(properties, "property", name=plain(name), value=plain(value))
    for test in tests:
        element.append(_case(job, test, taken, judged.get((job.job, test.nodeid))))
    return element


def _case(
    job: JobRecord, test: TestRecord, taken: set[tuple[str, str]], judged: Judgement | None
) -> ET.Element:
    module, _, name = test.nodeid.partition("::")
    classname = one_line(f"{job.board}.{module.removesuffix('.py').replace('/', '.')}")
    element = ET.Element(
        "testcase",
        classname=classname,
        name=_unique(classname, one_line(name or test.test), taken),
        time=f"{test.duration_s:.3f}",
    )
    if test.requirements:
        properties = ET.SubElement(element, "properties")
        for requirement in test.requirements:
            ET.SubElement(properties, "property", name="requirement", value=plain(requirement))
    if test.verdict in _ELEMENT:
        reason = "\n".join(filter(None, (judged.text if judged else "", test.reason)))
        outcome = ET.SubElement(
            element,
            _ELEMENT[test.verdict],
            type=test.verdict.value,
            message=one_line(reason) or test.verdict.value,
        )
        if _ELEMENT[test.verdict] != "skipped":
            outcome.text = plain(reason)
    if test.console:
        ET.SubElement(element, "system-out").text = plain("\n".join(test.console))
    return element


def _unique(classname: str, name: str, taken: set[tuple[str, str]]) -> str:
    """Return the name, with a number where another case of the class has it already."""
    chosen, number = name, 1
    while (classname, chosen) in taken:
        number += 1
        chosen = f"{name} ({number})"
    taken.add((classname, chosen))
    return chosen


def _sum_up(element: ET.Element, tests: Iterable[TestRecord]) -> None:
    listed = list(tests)
    kinds = [_ELEMENT.get(test.verdict) for test in listed]
    element.set("tests", str(len(listed)))
    element.set("failures", str(kinds.count("failure")))
    element.set("errors", str(kinds.count("error")))
    element.set("skipped", str(kinds.count("skipped")))
    element.set("time", f"{sum(test.duration_s for test in listed):.3f}")
