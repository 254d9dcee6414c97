"""Which tests a run takes on which board types, found out before a board is touched."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from farm.cli.ownlab import unnamed_types
from farm.cli.placing import offers, with_featured_types
from farm.errors import LabError, UsageError
from farm.model import WITHIN
from farm.yamlfile import nearest

if TYPE_CHECKING:
    from farm.cli.options import Options
    from farm.inventory import BoardType
    from farm.pytest_plugin.catalogue import Listed

Chosen = dict[str, list["Listed"]]
"""Tests by board type."""


def chosen_tests(
    options: Options,
    types: Mapping[str, BoardType],
    select: Mapping[str, Sequence[str]] | None = None,
) -> Chosen:
    """Return the tests that each board type would run.

    ``select`` are node ids by board type that limit them; that of a test within a test stands for
    the test that it is within.

    Raises:
        UsageError: what was asked for names nothing; names the nearest.
        TestBroken: a suite cannot be collected.
    """
    from farm.pytest_plugin.catalogue import Narrowing, collect

    # Where no markers are asked for, those that testsuites/pytest.ini leaves out stay out, but
    # for a test that is named with its parameters.
    marked = Narrowing(marker=options.narrowing.marker)
    files = list(dict.fromkeys(word.partition("::")[0] for word in options.suites))
    single = {word for word in options.suites if "[" in word}
    found: Chosen = {}
    whole: dict[str, Listed] = {}
    for name, image in board_types(options, types):
        tests = collect(files, board_type=types[name], image=image, narrowing=marked)
        if not marked and single - {test.nodeid for test in tests}:
            everything = collect(files, board_type=types[name], image=image, full=True)
            tests += [one for one in everything if one.nodeid in single and one not in tests]
        whole |= {test.nodeid: test for test in tests}
        named = [test for test in tests if _is_named(test.nodeid, options.suites)]
        if options.narrowing != marked and named:
            listed = collect(
                files, board_type=types[name], image=image, narrowing=options.narrowing, full=True
            )
            kept = {test.nodeid for test in listed}
            named = [test for test in named if test.nodeid in kept]
        known = {test.nodeid for test in found.get(name, ())}
        found.setdefault(name, []).extend(test for test in named if test.nodeid not in known)
    _check_words(options.suites, list(whole.values()))
    if not any(found.values()) and options.narrowing:
        raise _nothing(options, list(whole), list(found))
    if select is None:
        return found
    wanted = {name: {one.partition(WITHIN)[0] for one in ids} for name, ids in select.items()}
    limited = {
        name: [test for test in tests if test.nodeid in wanted.get(name, ())]
        for name, tests in found.items()
    }
    if not any(limited.values()):
        raise UsageError(
            "nothing of what was chosen is left to run",
            next_step="leave out --failed, or choose more: farm run --list",
        )
    return limited


def board_types(options: Options, types: Mapping[str, BoardType]) -> list[tuple[str, str]]:
    """Return the board types, with their images, of the boards that a run would take.

    Raises:
        UsageError: what was asked for is no board, or none that a lab of the run's own can have.
        LabError: the lab has no such board.
    """
    from farm.lab.placement import TYPE_TAG, check_names

    if not options.coordinator:
        check_names(options.boards, (), types)
        options = with_featured_types(options, types)
        names = list(dict.fromkeys(options.boards)) or unnamed_types(options, types)
        return [(name, options.image or types[name].image) for name in names]
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity

    with Coordinator(options.coordinator, new_identity(local_host())) as lab:
        places = lab.places()
    check_names(options.boards, places, types)
    found = []
    for name, place in places.items():
        kind = place.tags.get(TYPE_TAG, "")
        matches = all(place.tags.get(key) == value for key, value in options.match.items())
        wanted = not options.boards or name in options.boards or kind in options.boards
        if kind not in types or not matches or not wanted:
            continue
        image = place.tags.get("image") or types[kind].image
        if set(options.placing.features) <= offers(types[kind], image):
            found.append((kind, image))
    if not found:
        raise LabError(
            "no board of this lab is what was asked for",
            next_step="list the lab's boards with: farm boards",
        )
    return list(dict.fromkeys(found))


def _is_named(nodeid: str, words: Sequence[str]) -> bool:
    return any(_names(word, nodeid) for word in words)


def _names(word: str, nodeid: str) -> bool:
    """Return whether a suite, file, test function or test with its parameters names this test."""
    return nodeid == word or nodeid.startswith((f"{word}/", f"{word}::", f"{word}["))


def _check_words(words: Sequence[str], listed: Sequence[Listed]) -> None:
    """Make sure that each word with a test in it names one; names the nearest if not."""
    for word in words:
        file, _, rest = word.partition("::")
        if not rest or any(_names(word, test.nodeid) for test in listed):
            continue
        mine = [test for test in listed if test.nodeid.startswith(f"{file}::")]
        function, bracket, params = word.partition("[")
        alike = [test.nodeid for test in mine if test.function == function]
        if bracket and alike:
            known = [nodeid.partition("[")[2].rstrip("]") for nodeid in alike]
            wrong = params.rstrip("]")
            raise UsageError(
                f"{function} has no parameters {wrong!r}{_nearest(wrong, known)}",
                next_step=f"it has: {_some(known)}",
            )
        functions = sorted({test.function.partition("::")[2] for test in mine})
        raise UsageError(
            f"{file} has no test {rest!r}{_nearest(rest.partition('[')[0], functions)}",
            next_step=f"it has: {_some(functions)}",
        )


def _nearest(word: str, names: Sequence[str]) -> str:
    """Return the name that is most like a word, as a hint, or the one that has a part like it."""
    if hint := nearest(word, list(names)):
        return hint
    parts = {part: name for name in names for part in re.split("[-_]", name)}
    for piece in re.split("[-_]", word):
        if piece not in parts and (close := difflib.get_close_matches(piece, parts, 1)):
            return f" (did you mean {parts[close[0]]!r}?)"
    return ""


def _nothing(options: Options, nodeids: Sequence[str], names: Sequence[str]) -> UsageError:
    text = " ".join(nodeids).lower()
    words = set(re.findall(r"[\w-]+", options.narrowing.keyword.lower())) - {"and", "or", "not"}
    strange = sorted(word for word in words if word not in text)
    hint = ""
    if strange:
        close = nearest(strange[0], set(re.findall(r"[\w-]+", text)))
        hint = f": nothing has {strange[0]!r} in its name{close}"
    return UsageError(
        f"no test of {', '.join(options.suites)} on {', '.join(names)} is chosen by "
        f"{options.narrowing}{hint}",
        next_step="`farm run --list` lists tests, `farm requirements` says who can test what",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
