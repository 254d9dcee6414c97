"""HTML: one file that opens without a network, follows light and dark, and fits a phone.

Everything that comes from a board goes through :func:`farm.report.text.plain` and Jinja's escaping;
the page's content security policy lets nothing run but its own script.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

from farm.analysis.trend import Trend
from farm.errors import UsageError
from farm.model import Verdict
from farm.report.numbers import change, quantity
from farm.report.page import Page, page
from farm.report.pictures.gallery import gallery
from farm.report.pictures.svg import SHADES
from farm.report.spark import sparkline
from farm.report.text import assignments, duration, iso, one_line, plain
from farm.requirements import load_requirements
from farm.store import Store, history, load_run, verdict_history

TEMPLATES = Path(__file__).parent / "templates"
HISTORY = 30
"""Runs that a metric's history looks back at, the one that it is told in among them."""

COLUMNS = 6
"""Boards that have a column each in the table of requirements; more are told by verdict."""

PLOTS = 9
"""Metrics that are plotted at once; the rest unfolds."""


def write_html(store: Store, run: str, path: Path) -> Path:
    """Write the report of the run with this id and return its path.

    The file appears complete or not at all.

    Raises:
        UsageError: there is no such run.
        OSError: the file cannot be written.
    """
    write_whole(path, render(store, run))
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all, and its folder where there is none.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def render(store: Store, run: str) -> str:
    """Return the report of the run with this id as HTML."""
    record = load_run(store, run)
    series = {
        sample.series for job in record.jobs for test in job.final_tests for sample in test.samples
    }
    points = history(store, series, until=record, limit=HISTORY, itself=False)
    return render_page(page(record, points, verdict_history(store, record), _requirements()))


def _requirements() -> dict[str, tuple[str, str]]:
    """Return suite and sentence of the project's requirements; none where it has no such file.

    A report is written from the store, also where the suites are not at hand.
    """
    try:
        return {one.id: (one.suite, one.text) for one in load_requirements().values()}
    except UsageError:
        return {}


def render_page(content: Page) -> str:
    """Return a page as HTML."""
    script = Markup((TEMPLATES / "report.js").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("report.html")
        .render(
            page=content,
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            script=script,
            script_hash=digest,
            gallery=gallery(content.run),
            shades=range(SHADES),
            plots=PLOTS,
            columns=COLUMNS,
        )
    )


def environment() -> jinja2.Environment:
    """Return what renders the templates: everything is escaped, and nothing may be undefined."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "plain": plain,
        "one_line": one_line,
        "params": lambda params: one_line(assignments(params)),
        "when": lambda at: iso(at)[:16].replace("T", " "),
        "duration": duration,
        "change": change,
        "spark": _spark,
        "value": lambda trend: quantity(trend.value, trend.unit),
        "spread": lambda trend: quantity(trend.spread, trend.unit),
        "before": _before,
        "counts": _counts,
    }
    environment.tests["troubled"] = _troubled
    environment.globals["Verdict"] = Verdict
    return environment


def _spark(trend: Trend, width: int = 64, height: int = 16) -> Markup:
    """Return a metric's values over the runs as a sparkline; empty on its first run."""
    if not trend.earlier:
        return Markup("")
    values = [point.value for point in trend.earlier]
    told = [quantity(value, trend.unit) for value in [*values[-6:], trend.value]]
    more = "… → " if len(values) > 6 else ""
    title = plain(more + " → ".join(told))
    shown = [*values, trend.value]
    floor = 0.0 if trend.exact else 0.2 * max(map(abs, shown))
    return sparkline(shown, title, floor=floor, width=width, height=height)


def _before(trend: Trend) -> str:
    """Tell a metric's earlier values in a word or two; empty on its first run."""
    runs = len(trend.earlier)
    if not runs:
        return ""
    if trend.steady:
        return f"same in {runs} earlier run{'s' if runs > 1 else ''}"
    usual = quantity(trend.usual or 0.0, trend.unit)
    word = "was" if runs == 1 else "usually"
    return f"{word} {usual} {change(trend.change)}".rstrip()


def _troubled(boards: Mapping[Verdict, object]) -> bool:
    """Return whether any of these verdicts wants a look."""
    return any(verdict.is_failure or verdict.is_gap for verdict in boards)


def _counts(verdicts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{number} {verdict.value}" for verdict, number in verdicts.items())
