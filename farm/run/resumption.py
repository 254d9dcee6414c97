"""Going on with a job whose controller has died: what is over, what is left, what cannot go on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from farm import failpoints
from farm.errors import LabError
from farm.lab import durable
from farm.lab.lease import RELEASE_S
from farm.lab.place import Place
from farm.run.job import STOP_S, JobSpec
from farm.run.plan import hardware
from farm.run.view import Follower, JobView

MAX_RESUMES = 3
"""How often a job is gone on with: one that takes its controller down with it has to end."""

DEADLY = f"its controller died {MAX_RESUMES + 1} times"
"""Why such a job ended."""

GONE_S = STOP_S + RELEASE_S
"""How long what a dead controller leaves behind may take to end by itself, in seconds."""


def await_alone(jobs: Sequence[JobSpec]) -> None:
    """Wait until no worker and no keeper of these jobs is left.

    Raises:
        LabError: one does not end.
    """
    for spec in jobs:
        if not spec.lock_file.parent.is_dir():
            continue  # its worker was never started
        lock = durable.lock(spec.lock_file, wait_s=GONE_S)
        if lock is None:
            raise LabError(
                f"job {spec.job} of run {spec.run} still has a worker or a keeper, though its "
                f"controller died and {GONE_S:g} s have passed",
                next_step=f"see who has {spec.lock_file} open (fuser), end it and try again",
            )
        os.close(lock)
    failpoints.hit("resume.alone")


def look(spec: JobSpec) -> JobView:
    """Return what a job's journal says, as far as it can be read."""
    view = JobView(spec.board)
    for event in Follower(spec.journal).news():
        view.add(event)
    return view


def settled(spec: JobSpec, view: JobView) -> bool:
    """Return whether a job needs its board no more: it is over, or all its tests have verdicts."""
    return view.over or bool(view.planned and not view.left(spec.effort.repeat))


def as_placed(spec: JobSpec, view: JobView) -> JobSpec:
    """Return a job with the board that it got, where several would have done."""
    got = view.placed
    return spec if got is None else spec.on(got.board, got.image, got.hardware)


def resumption(spec: JobSpec, view: JobView, places: Mapping[str, Place]) -> JobSpec | str:
    """Return how a job goes on among the lab's places, or why it does not: empty if settled."""
    if settled(spec, view):
        return ""
    spec = as_placed(spec, view)
    if reason := _obstacle(spec, view, places):
        return reason
    # Who had it set aside is dead.
    changes: dict[str, object] = {"resumes": view.resumed + 1, "reserved": None}
    if view.planned:  # what is left of this job's part is not to be parted again
        left = view.left(spec.effort.repeat)
        changes |= {"select": left, "shard": 0, "shards": 1}
    return spec.model_copy(update=changes)


def _obstacle(spec: JobSpec, view: JobView, places: Mapping[str, Place]) -> str:
    if view.resumed >= MAX_RESUMES:
        return DEADLY
    if spec.wanted is not None:
        return ""  # it has no board yet: any that will do then
    place = places.get(spec.board)
    if place is None:
        return f"the lab has no board {spec.board} any more"
    image = place.tags.get("image_id", "")
    if image != spec.image.id:
        return f"board {spec.board} boots image {image or 'unknown'} now, not {spec.image.id}"
    if hardware(place.tags) != spec.hardware:
        return f"the hardware of board {spec.board} has changed"
    return ""
