"""A comparison of two runs as the JSON object that ``docs/json.md`` describes."""

from __future__ import annotations

from typing import Any

from farm.analysis.compare import Comparison, Difference, Noisy, Side, VerdictChange, Where
from farm.analysis.ranks import CONFIDENCE
from farm.report.text import number

SCHEMA = 2
"""Version of the object; since 2 a difference is one of medians and has no ``replicate``."""


def comparison(found: Comparison) -> dict[str, Any]:
    """Return the object of ``farm compare --json``, without its schema."""
    return {
        "before": found.before,
        "after": found.after,
        "exit": found.exit,
        "identity": [
            {
                "board_type": one.board_type,
                "what": one.what,
                "before": one.before,
                "after": one.after,
            }
            for one in found.identity
        ],
        "verdicts": [_verdict(one) for one in found.verdicts],
        "only_before": [_where(one) for one in found.only_before],
        "only_after": [_where(one) for one in found.only_after],
        "exact": {"equal": found.equal, "differences": [_fact(one) for one in found.differences]},
        "noisy": {
            "confidence": CONFIDENCE,
            "still": found.still,
            "untold": found.untold,
            "moved": [_noisy(one) for one in found.noisy],
        },
    }


def _where(where: Where) -> dict[str, str]:
    return {"board_type": where.board_type, "nodeid": where.nodeid}


def _verdict(change: VerdictChange) -> dict[str, Any]:
    return {
        **_where(change.where),
        "kind": change.kind.value,
        "before": change.before.value,
        "after": change.after.value,
        "reason": change.reason,
    }


def _metric(one: Difference | Noisy) -> dict[str, Any]:
    return {
        **_where(one.where),
        "metric": one.metric,
        "unit": one.unit,
        "params": dict(one.params),
        "worse": one.worse,
    }


def _fact(one: Difference) -> dict[str, Any]:
    return {
        **_metric(one),
        "before": None if one.before is None else number(one.before),
        "after": None if one.after is None else number(one.after),
        "exact_board": one.exact,
    }


def _noisy(one: Noisy) -> dict[str, Any]:
    assert one.shift is not None
    return {
        **_metric(one),
        "before": _side(one.before),
        "after": _side(one.after),
        "shift": number(one.shift.by),
        "low": number(one.shift.low),
        "high": number(one.shift.high),
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "median": number(side.median),
        "spread": number(side.spread),
        "values": len(side.values),
        "runs": side.runs,
    }
