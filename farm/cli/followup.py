"""The follow-ups of a run: what is tried again once its first jobs are over, and where."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from farm.cli.carryout import run_jobs
from farm.cli.output import err, error_text
from farm.cli.placing import survey
from farm.errors import FarmError
from farm.lab.coordinator import Coordinator, local_host
from farm.lab.lease import new_identity
from farm.model import Purpose

if TYPE_CHECKING:
    from farm.cli.options import Options
    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.run.followups import FollowUp
    from farm.run.job import JobSpec
    from farm.run.orchestrator import Job
    from farm.run.plan import Wish


def follow_up(
    jobs: Sequence[Job], options: Options, types: Mapping[str, BoardType], wish: Wish
) -> tuple[list[Job], bool]:
    """Run the retries of what the farm left open, then the repeats of new failures.

    Returns their jobs, and whether a user stopped them. A round that is among ``jobs`` is not run
    again. Trouble ends the follow-ups with a word on
    stderr, and costs nothing of what has run already.
    """
    from farm.run.followups import repeats, retries

    rounds = _Rounds(options, types, wish)
    begun = {job.spec.purpose for job in jobs}
    try:
        if options.rules.infra and begun == {Purpose.FIRST}:
            rounds.run(retries(jobs, rounds.boards()), Purpose.RETRY)
        if options.rules.new and Purpose.REPEAT not in begun and not rounds.stopped:
            tried = [*jobs, *rounds.done]
            chosen, said = repeats(tried, rounds.boards(), _newness(options.db, wish.plan))
            for line in said:
                err().print(line)
            rounds.run(chosen, Purpose.REPEAT, options.rules.new)
    except FarmError as error:
        err().print(f"no more follow-ups: {error_text(error)}")
    return rounds.done, rounds.stopped


def _newness(db: str | None, plan: str) -> Callable[[JobSpec, str], bool]:
    """Return what tells whether a failure is new: not there when the test last told something.

    A plan's failures are held against its own nights, others against every run.
    """
    from farm.store import open_store
    from farm.store.earlier import Where, earlier, last_told

    with open_store(db) as store:
        known = earlier(store, plan=plan)

    def is_new(spec: JobSpec, nodeid: str) -> bool:
        came = last_told(known.get(Where(spec.board_type, spec.image.profile, nodeid), ()))
        return came is None or not came.verdict.is_failure

    return is_new


class _Rounds:
    """Rounds of follow-ups, one after the other; ``stopped`` says whether a user ended them."""

    def __init__(self, options: Options, types: Mapping[str, BoardType], wish: Wish) -> None:
        """Run nothing yet."""
        self._options = options
        self._types = types
        self._wish = wish
        self.done: list[Job] = []
        self.stopped = False

    def boards(self) -> Callable[[JobSpec], list[str]]:
        """Ask the lab, and return what names the boards that are to be had for a job's tests.

        They are free now, and meet what the run was asked for; of the job's type, with its image.
        """
        from farm.lab.placement import judge
        from farm.lab.wanted import IMAGE_TAG, TYPE_TAG

        found = survey(self._wish.coordinator, self._options, self._types)
        judged = judge(found.places.values(), self._types, found.request, found.outlook)
        free = [one.place for one in judged if one.ready(may_wait=False)]

        def fit(spec: JobSpec) -> list[str]:
            return [
                place.name
                for place in free
                if place.tags.get(TYPE_TAG) == spec.board_type
                and place.tags.get(IMAGE_TAG, spec.image.profile) == spec.image.profile
            ]

        return fit

    def run(self, chosen: Sequence[FollowUp], purpose: Purpose, times: int = 1) -> None:
        """Run a round, if there is anything to run and time for it."""
        from farm.run.followups import spec_of
        from farm.run.plan import jobs

        if not chosen:
            return
        until = self._wish.until
        if until is not None and time.time() >= until:
            err().print(f"no time is left for a {purpose} of {len(chosen)} jobs")
            return
        places = self._places()
        specs = []
        for one in chosen:
            if one.board not in places:
                err().print(f"{one.board}: gone from the lab; no {purpose} on it")
                continue
            base = jobs([places[one.board]], self._types, self._wish)[0]
            specs.append(spec_of(one, base, purpose, times))
            many = "everything" if one.tests is None else f"{len(one.tests)} tests"
            err().print(f"{one.board}: {purpose} of {many} of {', '.join(one.follows)}")
        more, self.stopped = run_jobs(specs, self._wish)
        self.done += more

    def _places(self) -> dict[str, Place]:
        with Coordinator(self._wish.coordinator, new_identity(local_host())) as lab:
            return dict(sorted(lab.places().items()))
