"""A night: its parts in order of importance, carried out, and what they amount to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.cli.carryout import Options, conclude, run_part, wish_of
from farm.cli.chosen import chosen_tests
from farm.cli.output import err, error_text, printable
from farm.cli.phases import Phases
from farm.cli.plancheck import check_boards, check_names, check_placing
from farm.errors import FarmError, InfraError, LabError

if TYPE_CHECKING:
    from farm.analysis.importance import Ranked
    from farm.analysis.morning import Morning
    from farm.inventory import BoardType
    from farm.plans import Plan, PlanSource
    from farm.run.orchestrator import Job


@dataclass(frozen=True, slots=True)
class Part:
    """One image's part of a night: what it runs, by board type, the most important first.

    ``image`` is empty where every board boots its own.
    """

    image: str
    options: Options
    tests: Mapping[str, Sequence[Ranked]]

    @property
    def select(self) -> dict[str, list[str]]:
        """The node ids by board type, in the order in which they are to run."""
        return {name: [one.nodeid for one in tests] for name, tests in self.tests.items()}


@dataclass(frozen=True, slots=True)
class Night:
    """A plan that was found able to run, and its parts."""

    plan: Plan
    parts: Sequence[Part]
    types: Mapping[str, BoardType]
    db: str | None
    coordinator: str

    def preview(self) -> list[dict[str, Any]]:
        """Return what would run, as ``farm nightly --dry-run --json`` tells it."""
        return [
            {
                "image": part.image,
                "board_types": [
                    {
                        "board_type": name,
                        "image": part.image or self.types[name].image,
                        "estimate_s": round(sum(one.duration_s or 0.0 for one in tests), 1),
                        "unknown": sum(one.duration_s is None for one in tests),
                        "tests": [
                            {
                                "nodeid": one.nodeid,
                                "rank": one.rank.name.lower(),
                                "priority": one.priority,
                            }
                            for one in tests
                        ],
                    }
                    for name, tests in part.tests.items()
                ],
            }
            for part in self.parts
        ]

    def check_boards(self, jobs: Sequence[Job]) -> None:
        """Check the boards on which a test ended in INFRA, in a lab that stays."""
        from farm.cli.health import check_after_infra

        if self.coordinator:
            check_after_infra(jobs, self.coordinator, self.types, err().print)


@dataclass(frozen=True, slots=True)
class Result:
    """What a night came to; paths are empty where a file could not be written."""

    morning: Morning
    jobs: Sequence[Job]
    page: str
    page_path: str
    report: str


def prepare(source: PlanSource, coordinator: str, db: str | None, to: Path | None) -> Night:
    """Find out what a plan runs, in which order, and everything that is wrong with it by now.

    Raises:
        UsageError: the plan, a suite or a name in it is wrong, or nothing is left to run.
        LabError: the lab does not answer.
        TestBroken: a suite cannot be collected.
    """
    from farm.inventory import load_board_types

    plan = source.plan
    types = load_board_types()
    check_names(source)
    check_boards(source, coordinator, types)
    order = _Order(plan, db)
    parts = []
    for image in plan.images or [""]:
        options = _options(source, types, image, coordinator, db, to)
        try:
            chosen = chosen_tests(options, types)
        except FarmError as error:
            if error.exit_code != 2:
                raise
            raise source.file.error((), error.message, next_step=error.next_step) from error
        tests = {
            name: order(name, image or types[name].image, listed)
            for name, listed in chosen.items()
            if listed
        }
        if not tests:
            raise source.file.error((), "nothing is left to run: no board declares what it needs")
        parts.append(Part(image, options, tests))
    return Night(plan, parts, types, db, coordinator)


class _Order:
    """Puts tests into their order, by what the plan's nights before came to."""

    def __init__(self, plan: Plan, db: str | None) -> None:
        from farm.requirements import load_requirements
        from farm.store import open_store
        from farm.store.earlier import earlier, last_night

        with open_store(db) as store:
            self._earlier = earlier(store, plan=plan.name)
        self._last = last_night(self._earlier)
        self._priorities = {name: one.priority for name, one in load_requirements().items()}

    def __call__(self, board_type: str, image: str, tests: Sequence[Any]) -> list[Ranked]:
        from farm.analysis.importance import ordered
        from farm.requirements import USUAL_PRIORITY
        from farm.store.earlier import Where

        came = {
            one.nodeid: self._earlier.get(Where(board_type, image, one.nodeid), ()) for one in tests
        }
        named = [(one.nodeid, one.requirements) for one in tests]
        return ordered(named, came, self._last, self._priorities, USUAL_PRIORITY)


def _options(
    source: PlanSource,
    types: Mapping[str, BoardType],
    image: str,
    coordinator: str,
    db: str | None,
    to: Path | None,
) -> Options:
    from farm.events import Effort
    from farm.image.own import Own
    from farm.pytest_plugin.catalogue import Narrowing
    from farm.run.followups import Rules

    plan = source.plan
    return Options(
        suites=tuple(check_names(source)),
        boards=tuple(plan.boards),
        match={**plan.match, **({"image": image} if coordinator and image else {})},
        image=image,
        own=Own(),
        narrowing=Narrowing(plan.keyword, plan.markers, tuple(plan.requirements)),
        out=to,
        coordinator=coordinator,
        db=db,
        wait_s=plan.wait,
        effort=Effort(stress_s=plan.stress_seconds, repeat=plan.repeat),
        cached=True,
        rules=Rules(plan.retry.infra, plan.retry.new),
        placing=check_placing(source, types),
    )


def carry_out_night(night: Night) -> Result:
    """Run a night's parts one after the other, keep the results, and compare them.

    A part that cannot run costs none of the others; each gets its share of the time that is left.
    """
    from farm.run.orchestrator import STOPPED

    plan, phases = night.plan, Phases()
    first = wish_of(night.parts[0].options, None)
    began = time.time()
    jobs: list[Job] = []
    troubles: list[str] = []
    for number, part in enumerate(night.parts):
        wish = replace(
            first,
            suites=list(dict.fromkeys(word.partition("::")[0] for word in part.options.suites)),
            select=part.select,
            image=part.image,
            plan=plan.name,
            part=part.image if len(night.parts) > 1 else "",
            until=_until(plan, began, len(night.parts) - number),
        )
        try:
            options, missing = _to_be_had(part.options, night.types)
            for trouble in missing:
                err().print(printable(trouble), soft_wrap=True)
            troubles += missing
            if missing and not options.boards:
                continue
            jobs += run_part(options, night.types, wish, phases)
        except FarmError as error:
            err().print(error_text(error))
            troubles.append(f"{part.image or 'the night'}: {error.message}")
        except KeyboardInterrupt:
            troubles.append(STOPPED)
            break
        if any(job.view.reason == STOPPED for job in jobs):
            break
    outcome = conclude(night.parts[0].options, first, jobs, phases)
    found = _morning(night, first.run, began, jobs, troubles)
    page, path = _page(found, first.folder, outcome.report)
    return Result(found, jobs, page, path, outcome.report)


def _to_be_had(options: Options, types: Mapping[str, BoardType]) -> tuple[Options, list[str]]:
    """Leave out the boards that are not to be had now, and say why: the others shall have theirs.

    Raises:
        UsageError: what was asked for can never be.
        LabError: the lab does not answer.
    """
    from farm.cli.placing import chosen_places, survey

    if not options.coordinator or not options.boards:
        return options, []
    found = survey(options.coordinator, options, types)
    kept: list[str] = []
    missing: list[str] = []
    for word in options.boards:
        request = replace(found.request, boards=(*kept, word))
        try:
            chosen_places(replace(found, request=request), types, None)
        except LabError as error:
            missing.append(error.message)
        else:
            kept.append(word)
    return replace(options, boards=tuple(kept)), missing


def _until(plan: Plan, began: float, parts_left: int) -> float | None:
    """Return when a part is to begin no further test: it has its share of the time that is left."""
    if plan.time_box is None:
        return None
    now = time.time()
    return now + max(0.0, began + plan.time_box - now) / parts_left


def _morning(
    night: Night, run: str, began: float, jobs: Sequence[Job], troubles: Sequence[str]
) -> Morning:
    """Return what the night says; where the store cannot say it, that is what it says."""
    from farm.analysis.morning import morning
    from farm.store import load_run, open_store
    from farm.store.earlier import earlier
    from farm.store.records import RunRecord

    name = night.plan.name
    record = RunRecord(run, began, ())
    try:
        with open_store(night.db) as store:
            if jobs:
                record = load_run(store, run)
            known = earlier(store, plan=name, before=record)
    except FarmError as error:
        said = f"the results are in their journals only: {error.message}"
        return morning(record, {}, plan=name, troubles=[*troubles, said])
    return morning(record, known, plan=name, troubles=troubles)


def _page(found: Morning, folder: Path, report: str) -> tuple[str, str]:
    """Write the morning report's page; return it, and its path or nothing."""
    from farm.report.html import write_whole
    from farm.report.morning import render

    page = render(found, Path(report).name if report else "")
    path = folder / "morning.html"
    try:
        write_whole(path, page)
    except OSError as error:
        trouble = InfraError(f"{path}: cannot be written: {error.strerror}")
        err().print(printable(error_text(trouble)))
        return page, ""
    return page, str(path)
