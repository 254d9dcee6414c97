"""Building the payload: the same bytes anywhere, hashes per case, errors that name the line."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import paths
from farm.board import payload as payload_module
from farm.board.casetable import read_case_table
from farm.board.payload import Payload, build
from farm.errors import UsageError

CASE = '#include "farm.h"\n\nCASE(%s, "Does what a test of the build needs")\n{\n\t%s\n}\n'


@pytest.fixture(scope="session")
def host() -> Payload:
    return build("host")


@pytest.fixture(scope="session")
def extra_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for the extra suite: the compiler compiles anew what lies elsewhere."""
    return tmp_path_factory.mktemp("extra")


@pytest.fixture
def suite(extra_root: Path) -> Iterator[Path]:
    folder = extra_root / "vendor"
    folder.mkdir()
    (folder / "one.c").write_text(CASE % ("vendor_one", 'info("who", "one");'))
    (folder / "two.c").write_text(CASE % ("vendor_two", 'info("who", "two");'))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def elsewhere(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A copy of the sources in another folder, and a cache that shares only the compiler's.

    The folder is the same in every run of the tests, so that the compiler knows its objects again;
    who uses it has it alone.
    """
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("elsewhere")
    root = folder / "another" / "checkout"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(paths.testsuites(), root / "testsuites")
        (root / "board-configs").mkdir()
        monkeypatch.setenv("FARM_ROOT", str(root))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield root


def hashes(payload: Payload) -> dict[str, str]:
    return {case.name: case.hash for case in payload.cases}


@pytest.mark.first  # where it never ran before it compiles the payload
def test_the_bytes_do_not_depend_on_where_the_sources_lie(host: Payload, elsewhere: Path) -> None:
    other = build("host")

    assert other.path != host.path
    assert other.path.read_bytes() == host.path.read_bytes()
    assert other.cases == host.cases


def test_a_second_build_is_the_first_one(host: Payload) -> None:
    changed = host.path.stat().st_mtime_ns

    again = build("host")

    assert again == host
    assert again.path.stat().st_mtime_ns == changed


def test_an_extra_folder_is_a_suite_of_its_name(host: Payload, suite: Path) -> None:
    with_suite = build("host", extra=[suite])

    added = [case for case in with_suite.cases if case not in host.cases]

    assert [(case.name, case.suite, case.file) for case in added] == [
        ("vendor_one", "vendor", "vendor/one.c"),
        ("vendor_two", "vendor", "vendor/two.c"),
    ]


def test_a_case_hash_changes_with_its_own_file_only(suite: Path) -> None:
    before = hashes(build("host", extra=[suite]))
    (suite / "one.c").write_text(CASE % ("vendor_one", 'info("who", "another");'))

    after = hashes(build("host", extra=[suite]))

    assert {name for name in before if before[name] != after[name]} == {"vendor_one"}


def test_a_suite_header_changes_the_hashes_of_its_suite_only(suite: Path) -> None:
    before = hashes(build("host", extra=[suite]))
    (suite / "common.h").write_text("#define VENDOR 1\n")

    after = hashes(build("host", extra=[suite]))

    assert {name for name in before if before[name] != after[name]} == {"vendor_one", "vendor_two"}


def test_c_without_a_case_is_shared_by_its_suite(suite: Path) -> None:
    (suite / "one.c").write_text(
        "int vendor_shared(void);\n" + CASE % ("vendor_one", 'check(vendor_shared() == 1, "");')
    )
    shared = suite / "shared.c"
    shared.write_text("int vendor_shared(void);\nint vendor_shared(void)\n{\n\treturn 1;\n}\n")
    before = build("host", extra=[suite], only="vendor/one.c")
    shared.write_text(shared.read_text().replace("return 1", "return 2"))

    after = build("host", extra=[suite], only="vendor/one.c")

    assert [case.name for case in after.cases] == ["vendor_one"]
    assert hashes(after) != hashes(before)


def test_the_harness_changes_every_hash(host: Payload, elsewhere: Path) -> None:
    suites = elsewhere / "testsuites"
    for folder in suites.iterdir():
        if folder.is_dir() and folder.name not in ("payload", "refdev"):  # its interface
            shutil.rmtree(folder)
    unused = suites / "payload" / "facts.c"
    unused.write_text(unused.read_text() + "\n/* another harness */\n")

    after = hashes(build("host"))

    assert len(after) > 10
    assert all(hashes(host)[name] != value for name, value in after.items())


def test_a_compile_error_names_file_line_and_what_the_compiler_says(suite: Path) -> None:
    (suite / "one.c").write_text(CASE % ("vendor_one", "int unused = missing;"))

    with pytest.raises(UsageError) as caught:
        build("host", extra=[suite])

    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{suite / 'one.c'}:5: use of undeclared identifier 'missing'")


def test_a_warning_is_an_error(suite: Path) -> None:
    (suite / "one.c").write_text(CASE % ("vendor_one", "int unused;"))

    with pytest.raises(UsageError, match=r"one\.c:5: unused variable 'unused'"):
        build("host", extra=[suite])


def test_two_cases_of_one_name_are_refused_with_both_places(suite: Path) -> None:
    (suite / "two.c").write_text("\n" + CASE % ("vendor_one", 'skip("no");'))

    with pytest.raises(UsageError) as caught:
        build("host", extra=[suite])

    assert str(caught.value) == (
        f"{suite / 'two.c'}:4: case vendor_one is already defined at {suite / 'one.c'}:3"
    )


def test_two_folders_of_one_name_are_refused(suite: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "vendor"
    shutil.copytree(suite, twin)

    with pytest.raises(UsageError, match=r"2 files are called vendor/(one|two)\.c: "):
        build("host", extra=[suite, twin])


def test_a_damaged_cache_is_built_again(elsewhere: Path) -> None:
    first = build("host")
    intact = first.path.read_bytes()
    first.path.write_bytes(intact[:-100])

    again = build("host")

    assert again == first
    assert again.path.read_bytes() == intact


def test_a_cut_binary_is_no_payload(host: Payload) -> None:
    binary = host.path.read_bytes()

    for size in (0, 5, 60, 64, len(binary) // 2):
        with pytest.raises(UsageError, match="not a payload binary"):
            read_case_table(binary[:size])


@given(data=st.binary(max_size=400), place=st.integers(0, 2000))
def test_no_bytes_make_the_reader_stumble(host: Payload, data: bytes, place: int) -> None:
    binary = bytearray(host.path.read_bytes()[:4000])
    binary[place : place + len(data)] = data

    for candidate in (bytes(binary), b"\x7fELF\x02\x01" + data):
        with pytest.raises(UsageError):
            read_case_table(candidate)


def test_a_payload_with_hashes_of_another_rule_is_another(
    host: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = property(lambda source: source.path.suffix == ".h")
    monkeypatch.setattr(payload_module._Source, "is_shared", rule)
    other = build("host")
    assert other.path != host.path
    assert hashes(other) != hashes(host)
