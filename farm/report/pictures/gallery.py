"""All pictures of a run, each for the boards that it shows; boards that are alike share one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.analysis import curves
from farm.analysis.matrix import alike
from farm.analysis.topology import Frame
from farm.analysis.topology import frames as frames_of
from farm.report.pictures import frames, mapcost, matrix, topology, wakes
from farm.report.pictures.svg import Drawing
from farm.report.text import one_line
from farm.store.records import JobRecord, RunRecord

MAX_ALIKE = 6
"""Pictures of one kind that are drawn: with more boards that differ, the rest is told in words."""

_MAX_NAMES = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows: whose it is, and what it says in a sentence.

    ``drawing`` is None where there were too many to draw them all.
    """

    title: str
    about: str
    told: str
    drawing: Drawing | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A run's pictures, by what they are about; empty where nothing of it was measured."""

    matrices: tuple[Picture, ...]
    topologies: tuple[Picture, ...]
    map_cost: Picture | None
    frame_rates: Picture | None
    wakes: Picture | None

    @property
    def curves(self) -> tuple[Picture, ...]:
        """The pictures of what was measured over a parameter."""
        return tuple(
            one for one in (self.map_cost, self.frame_rates, self.wakes) if one is not None
        )


def gallery(run: RunRecord) -> Gallery:
    """Return all pictures of a run."""
    return Gallery(_matrices(run), _topologies(run), _map_cost(run), _frame_rates(run), _wakes(run))


def _matrices(run: RunRecord) -> tuple[Picture, ...]:
    groups = alike(run.counting)
    scale = matrix.Scale.of(found for _, found in groups)
    return tuple(
        Picture(
            _names(jobs),
            jobs[0].kernel,
            matrix.summary(found),
            matrix.picture(found, scale, name=f"matrix{n}") if n < MAX_ALIKE else None,
        )
        for n, (jobs, found) in enumerate(groups)
    )


def _topologies(run: RunRecord) -> tuple[Picture, ...]:
    groups: dict[tuple[Frame, ...], list[JobRecord]] = {}
    for job in run.counting:
        if found := frames_of(job):
            groups.setdefault(found, []).append(job)
    return tuple(
        Picture(
            _names(jobs),
            " ".join(dict.fromkeys(job.board_type for job in jobs)),
            topology.summary(found),
            topology.picture(found, name=f"topology{n}") if n < MAX_ALIKE else None,
        )
        for n, (found, jobs) in enumerate(groups.items())
    )


def _map_cost(run: RunRecord) -> Picture | None:
    costs = curves.map_costs(run)
    if not costs:
        return None
    return Picture(
        "What a map costs over size and scatter",
        "MAP-10: median of one map, and the IOMMU's entries for it; both axes logarithmic",
        mapcost.summary(costs),
        mapcost.picture(costs, name="mapcost"),
    )


def _frame_rates(run: RunRecord) -> Picture | None:
    found = curves.frame_rates(run)
    if not found:
        return None
    return Picture(
        "How many frames a second, and what they cost",
        "COD-4: an encoder and a decoder at work at once, by size of picture and depth of queues",
        frames.summary(found),
        frames.picture(found, name="frames"),
    )


def _wakes(run: RunRecord) -> Picture | None:
    found = curves.wakes(run)
    if not found:
        return None
    return Picture(
        "How fast a waiter wakes",
        "SYN-2: from a fence's signal until DMA_BUF_IOCTL_SYNC returns, as a distribution",
        wakes.summary(found),
        wakes.picture(found, name="wakes"),
    )


def _names(jobs: Sequence[JobRecord]) -> str:
    names = [one_line(job.board) for job in jobs]
    more = f" and {len(names) - _MAX_NAMES} more alike" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
