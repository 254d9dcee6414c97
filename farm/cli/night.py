"""A night: its parts in order of importance, carried out, and what they amount to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.cli.carryout import conclude, run_part
from farm.cli.chosen import chosen_tests
from farm.cli.morning import MorningReport, report_morning
from farm.cli.options import Options, asked_of, new_claim, options_of, wish_of
from farm.cli.outcome import was_stopped
from farm.cli.output import err, error_text, printable
from farm.cli.phases import Phases
from farm.cli.plancheck import check_boards, check_names, check_placing
from farm.errors import FarmError, LabError
from farm.run.job import STOPPED

if TYPE_CHECKING:
    from farm.analysis.importance import Ranked
    from farm.cli.outcome import Outcome
    from farm.inventory import BoardType
    from farm.plans import Plan, PlanSource
    from farm.run.orchestrator import Job
    from farm.run.unfinished import Claim


_KEYS = {"keyword": "'-k'", "markers": "-m"}
"""How pytest calls what is wrong with a plan's key."""


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
            at = next((key for key, sign in _KEYS.items() if sign in error.message), None)
            where = (at,) if at else ()
            raise source.file.error(where, error.message, next_step=error.next_step) from error
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


def carry_out_night(night: Night) -> tuple[Claim, Outcome, MorningReport]:
    """Run a night's parts one after the other, keep the results, and compare them.

    The run stays owed until people were told. A part that cannot run costs none of the others; each
    gets its share of the time that is left.
    """
    plan, phases = night.plan, Phases()
    deadline = None if plan.time_box is None else time.time() + plan.time_box
    claim = new_claim(
        night.parts[0].options,
        [
            asked_of(
                part.options,
                part.select,
                plan=plan.name,
                part=part.image if len(night.parts) > 1 else "",
                deadline=deadline,
            )
            for part in night.parts
        ],
        plan.tell,
    )
    jobs: list[Job] = []
    troubles: list[str] = []
    for number in range(len(night.parts)):
        more, missing = begin(claim, number, night.types, phases)
        jobs += more
        troubles += missing
        if STOPPED in missing or was_stopped(jobs):
            break
    outcome = conclude(claim, jobs, phases)
    return claim, outcome, report_morning(claim.record, jobs, outcome.report, troubles)


def begin(
    claim: Claim, number: int, types: Mapping[str, BoardType], phases: Phases
) -> tuple[list[Job], list[str]]:
    """Run a part of a night on the boards that are to be had; return its jobs, and its troubles."""
    troubles: list[str] = []
    try:
        options, missing = _to_be_had(options_of(claim.record, number), types)
        for trouble in missing:
            err().print(printable(trouble), soft_wrap=True)
        troubles += missing
        if missing and not options.boards:
            return [], troubles
        jobs, stopped = run_part(options, types, wish_of(claim, number), phases)
        return jobs, [*troubles, *[STOPPED] * (stopped and not was_stopped(jobs))]
    except FarmError as error:
        err().print(error_text(error))
        return [], [*troubles, f"{claim.record.asked[number].part or 'the night'}: {error.message}"]
    except KeyboardInterrupt:
        return [], [*troubles, STOPPED]


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
