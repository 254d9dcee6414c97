"""What a suite's file must say; errors name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from suite_files import suite_toml, write_suite

from farm.errors import ConfigError
from farm.suites import load_suite, load_suites


def test_a_suite_is_a_folder_with_its_file(tmp_path: Path) -> None:
    write_suite(tmp_path / "sync")
    write_suite(tmp_path / "mapcache")
    (tmp_path / "payload").mkdir()
    found = load_suites(tmp_path)
    assert list(found) == ["mapcache", "sync"]
    assert (found["sync"].title, found["sync"].sentence) == ("A suite", "It asks something.")


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("title =", "titel ="), 2, "titel: unknown key (did you mean 'title'?)"),
        (('"A suite"', "7"), 2, "title: expected text in quotes, found 7"),
        (('"A suite"', '" "'), 2, "title: expected text in quotes, found ' '"),
        (("thread =", "#"), 1, "the key 'thread' is missing"),
        (('"sync"', '"snyc"'), 1, "name: found 'snyc' in a folder named 'sync'"),
        (
            ("thread =", 'default = "no"\nthread ='),
            4,
            "default: expected true or false, found 'no'",
        ),
        (("sentence = ", "sentence "), 3, "not valid TOML"),
        (('somewhere"', "somewhere"), 4, "not valid TOML"),
        (("title =", "name ="), 2, "not valid TOML"),
    ],
)
def test_a_broken_file_is_named_by_line(
    tmp_path: Path, change: tuple[str, str], line: int, said: str
) -> None:
    file = write_suite(tmp_path / "sync") / "suite.toml"
    file.write_text(suite_toml("sync").replace(*change))
    with pytest.raises(ConfigError) as caught:
        load_suite(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'name = "sync"\ntitle = "\xff"\n', ":2: not UTF-8"),
        (b"x = " + b"[" * 5000, "not valid TOML"),
        (b"#" * ((1 << 20) + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = write_suite(tmp_path / "sync") / "suite.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_suite(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_suite(tmp_path / "suite.toml")


@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_but_its_own_error_is_raised(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "suite.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"suite\.toml:\d+: "):
        load_suite(file)
