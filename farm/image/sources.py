"""The host's own apt sources: where a Debian archive answers, read and never written down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ImageError

ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's archive keys as the package ``debian-archive-keyring`` installs them."""

_DEBIAN_SUITE = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)$"
)
_SECURITY_SUITE = re.compile(r"[a-z]+-security$")
_LIST_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One line's worth of apt sources: a URI with one suite; ``signed_by`` is empty or a path."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def parse_list(text: str) -> Iterator[Source]:
    """Yield what a one-line-style file (``sources.list``) offers; other lines are passed over.

    Format: sources.list(5).
    """
    for line in text.splitlines():
        match = _LIST_LINE.match(line.split("#", 1)[0].strip())
        if match is None:
            continue
        options = dict(
            word.partition("=")[::2] for word in (match["options"] or "").split() if "=" in word
        )
        yield Source(
            uri=match["uri"].rstrip("/"),
            suite=match["suite"],
            components=tuple(match["rest"].split()),
            signed_by=options.get("signed-by", ""),
        )


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a deb822 text with lower-case keys; comments are left out."""
    paragraph: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if paragraph:
                yield paragraph
            paragraph, key = {}, ""
        elif line[0] in " \t":
            if key:
                paragraph[key] += "\n" + line.strip()
        else:
            name, colon, value = line.partition(":")
            key = name.strip().lower() if colon else ""
            if key:
                paragraph[key] = value.strip()


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield what a deb822-style file (``*.sources``) offers; others are passed over.

    Format: sources.list(5).
    """
    for stanza in stanzas(text):
        if "deb" not in stanza.get("types", "").split():
            continue
        if stanza.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        signed_by = stanza.get("signed-by", "")
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                yield Source(
                    uri=uri.rstrip("/"),
                    suite=suite,
                    components=tuple(stanza.get("components", "").split()),
                    signed_by=signed_by if signed_by.startswith("/") else "",
                )


def host_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Return all that the host's apt would use, in its order; unreadable files are left out."""
    parts = etc / "sources.list.d"
    files = [etc / "sources.list"]
    if parts.is_dir():
        files += sorted(p for p in parts.iterdir() if p.suffix in (".list", ".sources"))
    found: list[Source] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += parse_deb822(text) if file.suffix == ".sources" else parse_list(text)
    return found


class NoMirror(ImageError):
    """This machine's apt has no mirror that would have a suite."""


def debian_mirror(sources: list[Source], suite: str = "") -> str:
    """Return the URI of the first source that is a Debian archive with component ``main``.

    A ``suite`` of security updates is in an archive of its own.

    Raises:
        NoMirror: there is none.
    """
    wanted = _SECURITY_SUITE if _SECURITY_SUITE.match(suite) else _DEBIAN_SUITE
    for source in sources:
        if wanted.match(source.suite) and "main" in source.components:
            return source.uri
    raise NoMirror(
        f"no Debian mirror{f' with {suite}' if suite else ''} among this machine's apt sources, so "
        "board packages cannot be fetched",
        next_step="add a line such as 'deb http://MIRROR/debian stable main' to "
        "/etc/apt/sources.list.d/debian.list",
    )


def archive_keyring(sources: list[Source]) -> Path:
    """Return the keyring that Debian's suites are checked with.

    Raises:
        ImageError: the host has none.
    """
    named = [Path(s.signed_by) for s in sources if s.signed_by and _DEBIAN_SUITE.match(s.suite)]
    for candidate in (ARCHIVE_KEYRING, *named):
        if candidate.is_file():
            return candidate
    raise ImageError(
        f"Debian's archive keys are missing: no {ARCHIVE_KEYRING}",
        next_step="install the package debian-archive-keyring",
    )
