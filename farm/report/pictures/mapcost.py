"""What a map costs over size and scatter (MAP-10): time above, IOMMU entries below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from farm.analysis.curves import MapCost
from farm.report.numbers import quantity
from farm.report.pictures.panels import MAX_PANELS, Across, Band, draw_panels
from farm.report.pictures.svg import Drawing
from farm.report.text import one_line


def picture(costs: Sequence[MapCost], *, name: str) -> Drawing:
    """Return log-log plots of map time and IOMMU entries, a line for each length of runs."""
    time = Band("time of one map", lambda value: quantity(value, "ns"), [c.time for c in costs])
    entries = Band(
        "IOMMU entries",
        lambda value: quantity(value, "count"),
        [one.entries for one in costs],
        absent="no IOMMU translates",
    )
    across = Across("size of the buffer", _bytes, base=16)
    return draw_panels(
        name, summary(costs), [time, entries], across, lambda key: f"in runs of {_bytes(key)}"
    )


def summary(costs: Sequence[MapCost]) -> str:
    """Return in a sentence what one size, the one that most lines have, costs in its runs."""
    told = []
    for one in costs[:MAX_PANELS]:
        sizes = Counter(point.x for line in one.time.lines for point in line.points)
        most = max(sizes.values())
        size = max(x for x, number in sizes.items() if number == most)
        at = [
            f"{quantity(point.y, 'ns')} in runs of {_bytes(line.key)}"
            for line in one.time.lines
            for point in line.points
            if point.x == size
        ]
        words = f"{_bytes(size)} take {', '.join(at)}"
        told.append(f"{one_line(one.time.job.board)}, {one_line(one.time.about)}: {words}")
    if len(costs) > MAX_PANELS:
        told.append(f"{len(costs) - MAX_PANELS} more are in the cases")
    return "; ".join(told)


def _bytes(value: float) -> str:
    return quantity(value, "B")
