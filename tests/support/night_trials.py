"""Nights on a :class:`NetworkLab` that something happens to, and the account of what that cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from network_lab import SUITE, TYPE, NetworkLab
from receivers import WebServer
from trials import Account, Trial


class NightTrial(Trial):
    """One night of a plan of its own that tells some web servers, with something injected.

    Beside what any run has to keep, each of them must have been told of the night at least once,
    if any of its jobs began, and at most once more for each controller that was killed.
    """

    def __init__(
        self, lab: NetworkLab, injected: str, hooks: Mapping[str, WebServer], **more: Any
    ) -> None:
        super().__init__(lab, [], injected)
        self.hooks = hooks
        self.posts_before = {name: len(hook.posts) for name, hook in hooks.items()}
        self.plan = lab.folder / "small.yaml"
        body = {
            "description": "a small night",
            "match": {"board_type": TYPE},
            "suites": [SUITE],
            "retry": {"infra": True, "new": 1},
            "tell": [{"webhook": hook.url} for hook in hooks.values()],
            **more,
        }
        self.plan.write_text(json.dumps(body))  # JSON is YAML

    def night(
        self,
        failpoints: str = "",
        during: Callable[[Any], None] = lambda process: None,
        **more: str,
    ) -> int:
        return self.run("nightly", str(self.plan), failpoints=failpoints, during=during, **more)

    def posts(self, hook: str) -> list[str]:
        """Return what a web server was told in this trial."""
        return [post["text"] for post in self.hooks[hook].posts[self.posts_before[hook] :]]

    def settle(self) -> Account:
        super().settle()
        for run in {file.parents[1].name for file, told in self.seen.items() if told}:
            for name in self.hooks:
                times = sum(f"({run})" in text for text in self.posts(name))
                if not times:
                    self.account.lost.append(f"{name} was not told of night {run}")
                if times > 1 + self.account.killed:
                    self.account.doubled.append(f"{name} was told of night {run} {times} times")
        return self.account


def owed(lab: NetworkLab) -> list[Path]:
    """Return the records of runs that are unfinished, or not told to everybody."""
    return list((lab.folder / "state" / "farm" / "runs").glob("*.json"))
