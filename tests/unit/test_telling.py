"""Whom a night is told, what of that is written down, and what stays owed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import job_of, keep, night_id
from receivers import WebServer, web_server

from farm.analysis.morning import morning
from farm.cli.morning import MorningReport
from farm.cli.outcome import Outcome
from farm.cli.telling import AGAIN, Smtp, tell_people
from farm.model import Verdict
from farm.plans import Tell
from farm.run import unfinished
from farm.run.unfinished import Asked, Claim, Mark, Telling
from farm.store import load_run, open_store

RUN = night_id(1)
NO_MAIL = Smtp("", "", "")


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with web_server() as found:
        yield found


def claim(folder: Path, *tell: Tell) -> Claim:
    return Claim.new(RUN, folder, None, [Asked(plan="nightly")], tell)


def night(folder: Path, verdict: Verdict = Verdict.PASS) -> MorningReport:
    with open_store(str(folder / "farm.db")) as store:
        record = load_run(store, keep(store, folder, [job_of({"one": verdict})]))
    return MorningReport(morning(record, {}), "<html>", "", "")


def outcome(*, kept: bool = True) -> Outcome:
    return Outcome(RUN, [], 0, "", kept=kept)


def test_nothing_is_owed_once_everybody_was_tried(hooks: WebServer, tmp_path: Path) -> None:
    hooks.statuses = [404]
    mine = claim(tmp_path, Tell(webhook=hooks.url), Tell(webhook=hooks.url))
    refused, told = tell_people(mine, outcome(), night(tmp_path), NO_MAIL)
    assert (refused.tries, told.tries, told.problem) == (1, 1, "")
    assert refused.problem.startswith("webhook at 127.0.0.1 answered 404")
    assert unfinished.every() == []


def test_who_cannot_be_told_with_these_settings_stays_owed(
    hooks: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = claim(tmp_path, Tell(webhook_from="HOOK"), Tell(webhook=hooks.url))
    untold, told = tell_people(mine, outcome(), night(tmp_path), NO_MAIL)
    assert (untold.to, untold.tries, told.problem) == ("webhook of HOOK", 0, "")
    assert "HOOK does not hold an http:// or https:// URL" in untold.problem
    (record,) = unfinished.every()
    assert record.told_only and record.telling
    assert record.telling.marks == [Mark.DUE, Mark.TOLD]
    mine.let_go()
    monkeypatch.setenv("HOOK", hooks.url)
    again = unfinished.claim(RUN)
    assert again is not None
    (told,) = tell_people(again, outcome(), night(tmp_path), NO_MAIL)
    assert told.problem == "" and len(hooks.posts) == 2
    assert AGAIN not in hooks.posts[1]["text"]
    assert unfinished.every() == []


def test_who_may_have_been_told_is_told_so(hooks: WebServer, tmp_path: Path) -> None:
    mine = claim(tmp_path, Tell(webhook=hooks.url))
    mine.owe_telling(Telling(kept=True, report="", troubles=[], marks=[Mark.BEGUN]))
    tell_people(mine, outcome(), night(tmp_path), NO_MAIL)
    (post,) = hooks.posts
    assert AGAIN in post["text"]


@pytest.mark.parametrize(("verdict", "posts"), [(Verdict.PASS, 0), (Verdict.FAIL, 1)])
def test_trouble_is_told_to_who_wants_only_that(
    hooks: WebServer, tmp_path: Path, verdict: Verdict, posts: int
) -> None:
    mine = claim(tmp_path, Tell(webhook=hooks.url, when="trouble"))
    told = tell_people(mine, outcome(), night(tmp_path, verdict), NO_MAIL)
    assert (len(told), len(hooks.posts)) == (posts, posts)
    assert unfinished.every() == []


def test_without_settings_of_a_mail_server_it_is_only_written_down(
    hooks: WebServer, tmp_path: Path
) -> None:
    mine = claim(tmp_path, Tell(webhook=hooks.url))
    assert tell_people(mine, outcome(), night(tmp_path), None) == []
    (record,) = unfinished.every()
    assert record.told_only and hooks.posts == []


def test_results_that_could_not_be_kept_stay_owed_and_are_told_of_once(
    hooks: WebServer, tmp_path: Path
) -> None:
    mine = claim(tmp_path, Tell(webhook=hooks.url))
    tell_people(mine, outcome(kept=False), night(tmp_path), NO_MAIL)
    (record,) = unfinished.every()
    assert not record.told_only
    assert tell_people(mine, outcome(), night(tmp_path), NO_MAIL) == []
    assert len(hooks.posts) == 1 and unfinished.every() == []
