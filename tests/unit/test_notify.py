"""Telling people of a night, by mail, webhook and command."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from receivers import MailServer, WebServer, mail_server, web_server

from farm.errors import UsageError
from farm.notify import Message, NotTold, deliver, doubts
from farm.notify.channel import PAUSES_S
from farm.notify.command import Command
from farm.notify.mail import Mail, Server, server
from farm.notify.webhook import MAX_TEXT, Webhook, slack_text

MESSAGE = Message(
    "20261121-081502-x3f9",
    "[farm] nightly: 1 new (r)\nBcc: eve@example.org",
    "FAIL mapcache/test_map.py::test_maps[<!channel>]\n.\nm\u00fcde\n",
    "<html>\u2713</html>",
    {"exit": 1},
)
TO = ["ann@example.org", "bob@example.org"]


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as found:
        yield found


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with web_server() as found:
        yield found


def mail(port: int) -> Mail:
    return Mail(TO, server(f"smtp://127.0.0.1:{port}", sender="farm@example.org"))


class Pauses(list[float]):
    """Keeps what was slept instead of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_a_mail_has_the_text_and_the_page(mails: MailServer) -> None:
    told = deliver(mail(mails.port), MESSAGE, sleep=Pauses())
    assert (told.to, told.tries, told.problem) == (f"mail to {', '.join(TO)}", 1, "")
    (letter,) = mails.letters
    assert letter["Subject"] == "[farm] nightly: 1 new (r) Bcc: eve@example.org"
    assert letter["Bcc"] is None and letter["To"] == ", ".join(TO)
    body = letter.get_body(("plain",))
    assert body is not None and body.get_content().replace("\r\n", "\n") == MESSAGE.text
    (page,) = letter.iter_attachments()
    assert (page.get_filename(), page.get_content().strip()) == ("morning.html", MESSAGE.html)


def test_trouble_that_passes_is_tried_again(mails: MailServer) -> None:
    mails.answers = {"MAIL": ["451 later"], "DATA": ["452 full"]}
    pauses = Pauses()
    told = deliver(mail(mails.port), MESSAGE, sleep=pauses)
    assert (told.tries, told.problem, len(mails.letters)) == (3, "", 1)
    assert pauses == [0.0, *PAUSES_S]


def test_what_is_refused_for_good_is_tried_once(mails: MailServer) -> None:
    mails.answers = {"MAIL": ["550 we do not know you"]}
    told = deliver(mail(mails.port), MESSAGE, sleep=Pauses())
    assert told.tries == 1
    assert told.problem == f"smtp://127.0.0.1:{mails.port} answered 550: we do not know you"


@pytest.mark.parametrize("refused", [1, 2])
def test_refused_recipients_are_named(mails: MailServer, refused: int) -> None:
    mails.answers = {"RCPT": ["550 no such user"] * refused}
    told = deliver(mail(mails.port), MESSAGE, sleep=Pauses())
    where = f"smtp://127.0.0.1:{mails.port}"
    assert told.problem == f"{where} does not take mail for {', '.join(TO[:refused])}"
    assert told.tries == 1
    assert len(mails.letters) == (refused == 1)


def test_nobody_is_left_out_for_another(mails: MailServer, hooks: WebServer) -> None:
    with mail_server() as gone:
        port = gone.port
    channels = [mail(port), Webhook(hooks.url), mail(mails.port)]
    told = [deliver(one, MESSAGE, sleep=Pauses()) for one in channels]
    assert [one.tries for one in told] == [3, 1, 1]
    assert told[0].problem.startswith(f"smtp://127.0.0.1:{port} cannot be reached: ")
    assert (len(hooks.posts), len(mails.letters)) == (1, 1)


def test_a_server_without_starttls_gets_no_password(mails: MailServer) -> None:
    made = server(f"smtp+starttls://127.0.0.1:{mails.port}", user="u", password="s3cret")
    told = deliver(Mail(TO, made), MESSAGE, sleep=Pauses())
    assert (told.tries, mails.letters) == (1, [])
    assert "STARTTLS" in told.problem and "s3cret" not in told.problem + repr(made)


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("mail.example.org", {}, "expected smtp://HOST"),
        ("http://h", {}, "expected smtp://HOST"),
        ("smtp://h:port", {}, "expected smtp://HOST"),
        ("smtp://[h", {}, "expected smtp://HOST"),
        ("smtp://h", {"sender": "a\nBcc: b"}, "--smtp-from: expected an address"),
        ("smtp://ann:s3cret@h", {}, "holds a user or a password"),
        ("smtp://h", {"user": "ann", "password": "s3cret"}, "would go to h unencrypted"),
        ("smtps://h", {"user": "ann"}, "has a user and no password"),
        ("smtps://h", {"password": "s3cret"}, "has a password and no user"),
        ("smtps://h", {"user": "ann", "password_file": "/none"}, "FARM_SMTP_PASSWORD_FILE: /none"),
    ],
)
def test_wrong_settings_are_told_without_the_password(
    url: str, more: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as told:
        server(url, **more)
    assert said in told.value.message
    assert "s3cret" not in told.value.message + told.value.next_step


def test_ports_and_the_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    made = server("smtps://h", user="ann", password_file=str(tmp_path / "password"))
    assert made == Server("smtps", "h", 465, "farm@localhost", "ann", "s3cret")
    assert server("smtp+starttls://h").port == 587
    assert server("smtp://h:2525").port == 2525


def test_a_webhook_gets_slacks_json(hooks: WebServer) -> None:
    told = deliver(Webhook(hooks.url), MESSAGE, sleep=Pauses())
    assert (told.to, told.problem) == ("webhook at 127.0.0.1", "")
    (post,) = hooks.posts
    assert set(post) == {"text"}
    assert "&lt;!channel&gt;" in post["text"] and "<" not in post["text"]


@pytest.mark.parametrize(
    ("statuses", "tries", "problem"),
    [
        ([500, 200], 2, ""),
        ([429, 408, 200], 3, ""),
        ([404], 1, "answered 404"),
        ([502] * 3, 3, "502"),
    ],
)
def test_a_webhooks_errors(hooks: WebServer, statuses: list[int], tries: int, problem: str) -> None:
    hooks.statuses = list(statuses)
    told = deliver(Webhook(hooks.url), MESSAGE, sleep=Pauses())
    assert told.tries == tries
    assert problem in told.problem and bool(problem) is bool(told.problem)
    assert "secret" not in told.problem + told.to


@pytest.mark.parametrize("url", ["", "ftp://h/x", "http://[h", "http://h:x/", "http:///x"])
def test_what_is_no_webhook_is_said_at_the_start(url: str) -> None:
    with pytest.raises(UsageError, match="an http:// or https:// URL"):
        Webhook(url)


def test_who_could_not_be_told_now_is_known_before(mails: MailServer, hooks: WebServer) -> None:
    with mail_server() as gone:
        nobody = gone.port
    channels = [
        mail(mails.port), mail(nobody), Webhook(hooks.url), Webhook(f"http://127.0.0.1:{nobody}/"),
    ]  # fmt: skip
    fine, no_mail, also_fine, no_hook = doubts(channels)
    assert (fine, also_fine, mails.letters, hooks.posts) == ("", "", [], [])
    assert f"smtp://127.0.0.1:{nobody} cannot be reached: " in no_mail
    assert "webhook at 127.0.0.1 cannot be reached: " in no_hook


def test_a_channel_that_breaks_is_one_that_could_not_tell() -> None:
    class Broken:
        to = "nobody"

        def check(self) -> None:
            pass

        def send(self, message: Message) -> None:
            raise ValueError("what is this?")

    broken = deliver(Broken(), MESSAGE, sleep=Pauses())
    assert (broken.tries, broken.problem) == (1, "ValueError: what is this?")


def test_a_webhooks_text_is_bounded() -> None:
    text = slack_text(Message("r", "s", "&" * 2 * MAX_TEXT, "", {}))
    assert text.count("&amp;") == MAX_TEXT - 3 and text.endswith("…")


def script(folder: Path, text: str) -> Path:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_command_gets_the_report(tmp_path: Path) -> None:
    script(tmp_path, 'cat > seen; printf %s "$FARM_SUBJECT $1" > line')
    told = deliver(Command(["./hook", "word"], folder=tmp_path), MESSAGE, sleep=Pauses())
    assert (told.to, told.problem) == ("command ./hook word", "")
    assert json.loads((tmp_path / "seen").read_text()) == {"exit": 1}
    assert (tmp_path / "line").read_text() == f"{MESSAGE.subject} word"


def test_a_command_that_fails_is_tried_and_told(tmp_path: Path) -> None:
    script(tmp_path, "echo no luck >&2; exit 3")
    told = deliver(Command(["./hook"], folder=tmp_path), MESSAGE, sleep=Pauses())
    assert (told.tries, told.problem) == (3, "command ./hook ended with status 3: no luck")


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    script(tmp_path, "exec sleep 600")
    with pytest.raises(NotTold, match=r"did not end within 0\.2 s"):
        Command(["./hook"], folder=tmp_path, timeout_s=0.2).send(MESSAGE)


def test_a_command_may_leave_a_child_behind(tmp_path: Path) -> None:
    script(tmp_path, "sleep 60 & echo $! > child")
    Command(["./hook"], folder=tmp_path, timeout_s=30.0).send(MESSAGE)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_command_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    script(tmp_path, "").chmod(0o644)
    with pytest.raises(UsageError, match="cannot be executed"):
        Command(["./hook"], folder=tmp_path)
    with pytest.raises(UsageError, match=r"no program './none'"):
        Command(["./none"], folder=tmp_path)
    with pytest.raises(UsageError, match="no program 'farm-none'"):
        Command(["farm-none"], folder=tmp_path)
    assert Command(["true"], folder=tmp_path).to == "command true"
