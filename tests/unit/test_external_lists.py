"""Lists of expected failures, flakes and skips, and what they make of a program's results."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ConfigError
from farm.external.judging import Ended, Judged, judge, judge_left
from farm.external.lists import Lists, load_lists
from farm.external.results import Case, Output, Status
from farm.model import Verdict

PROGRAMS = {"sync:sync_test", "prime_vgem", "v4l2-compliance:"}
WHY = "# the driver does not do this, see drivers/x.c\n"


def load(folder: Path, board: str = "virt-smmuv3", image: str = "debian-13") -> Lists:
    return load_lists(
        folder,
        board,
        {image},
        types={"virt-smmuv3", "rock-5b"},
        profiles={"debian-13", "reference-6.12"},
        programs=PROGRAMS,
    )


def lists(folder: Path, **texts: str) -> Lists:
    for kind, text in texts.items():
        (folder / f"virt-smmuv3-{kind}.txt").write_text(text)
    return load(folder)


def test_a_paragraph_has_one_reason(tmp_path: Path) -> None:
    found = lists(
        tmp_path,
        fails=f"{WHY}sync:sync_test@a,Fail\nsync:sync_test@b, with comma,Crash\n\n"
        "# because of this\n# and of that\nprime_vgem,Timeout\n",
    )
    assert [(e.name, e.status, e.reason, e.where.rpartition(":")[2]) for e in found.entries] == [
        ("sync:sync_test@a", Status.FAIL, WHY[2:-1], "2"),
        ("sync:sync_test@b, with comma", Status.CRASH, WHY[2:-1], "3"),
        ("prime_vgem", Status.TIMEOUT, "because of this and of that", "7"),
    ]


def test_what_fits_board_image_or_both_counts(tmp_path: Path) -> None:
    for name in ("virt-smmuv3", "debian-13", "virt-smmuv3-debian-13", "rock-5b", "reference-6.12"):
        (tmp_path / f"{name}-fails.txt").write_text(f"{WHY}prime_vgem@{name},Fail\n")
    names = {entry.name.partition("@")[2] for entry in load(tmp_path).entries}
    assert names == {"virt-smmuv3", "debian-13", "virt-smmuv3-debian-13"}
    assert not load(tmp_path / "none").entries


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("virt-smmuv3-fails.txt", "prime_vgem@a,Fail\n", ":1: 'prime_vgem@a,Fail' has no reason"),
        ("virt-smmuv3-fails.txt", f"{WHY}\nprime_vgem@a,Fail\n", ":3: 'prime_vgem@a,Fail' has no"),
        ("virt-smmuv3-fails.txt", "# short\nprime_vgem@a,Fail\n", ":2: "),
        (
            "virt-smmuv3-fails.txt",
            f"{WHY}prime_vgem@a\n",
            ":2: expected NAME,Fail|Crash|Timeout|Leak",
        ),
        ("virt-smmuv3-fails.txt", f"{WHY}prime_vgem@a,Fial\n", "did you mean 'Fail'?"),
        ("virt-smmuv3-fails.txt", f"{WHY}prime_vgem,Leak\n", ":2: 'prime_vgem,Leak' does not say"),
        ("virt-smmuv3-fails.txt", f"{WHY}prime_vgm@a,Fail\n", "did you mean 'prime_vgem'?"),
        ("virt-smmuv3-fails.txt", f"{WHY}v4l2-compliance:,Fail\n", ":2: no program"),
        ("virt-smmuv3-skips.txt", f"{WHY}prime_vgem@(\n", ":2: 'prime_vgem@(' is no regular"),
        ("virt-smmuv3-flakes.txt", f"{WHY}prime_vgm@.*,Fail\n", "matches no program"),
        ("virt-smmuv3-flakes.txt", f"{WHY}prime_vgem@.*\n", ":2: expected NAME,Fail|Crash"),
        ("virt-smmu3-fails.txt", "", ":1: the file's name fits no board type or image (did you"),
        ("notes.txt", "", ":1: the file's name fits no"),
        ("virt-smmuv3-fails.txt", "\xff", ":1: cannot be read"),
        ("rock-5b-fails.txt", "prime_vgem@a,Fail\n", ":1: 'prime_vgem@a,Fail' has no reason"),
    ],
)
def test_a_broken_list_is_told_with_file_and_line(
    tmp_path: Path, file: str, text: str, said: str
) -> None:
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / file}:") and said in str(error.value)


def test_nothing_is_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "debian-13-fails.txt").write_text(f"{WHY}prime_vgem@a,Fail\n")
    with pytest.raises(ConfigError, match=r"skips.txt:2: 'prime_vgem@a' stands at .*fails.txt:2"):
        lists(tmp_path, skips=f"{WHY}prime_vgem@a\n")


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("lists")
    for kind in ("fails", "flakes", "skips"):
        (folder / f"virt-smmuv3-{kind}.txt").write_text(text)
    try:
        load(folder)
    except ConfigError as error:
        assert str(error).startswith(str(folder))


# --- verdicts -------------------------------------------------------------------------------------

DONE = Ended(0)


def verdict(found: Lists, status: Status, name: str = "a") -> Judged:
    output = Output((Case(name, status, "it said so"),))
    own, cases = judge("prime_vgem", output, DONE, found)
    assert own.verdict is Verdict.PASS, own
    return cases[0]


@pytest.mark.parametrize(
    ("status", "plain", "fails", "flakes"),
    [
        (Status.PASS, Verdict.PASS, Verdict.XPASS, Verdict.PASS),
        (Status.FAIL, Verdict.FAIL, Verdict.XFAIL, Verdict.XFAIL),
        (Status.CRASH, Verdict.FAIL, Verdict.FAIL, Verdict.FAIL),
        (Status.TIMEOUT, Verdict.FAIL, Verdict.FAIL, Verdict.FAIL),
        (Status.SKIP, Verdict.SKIP, Verdict.SKIP, Verdict.SKIP),
        (Status.EXPECTED_FAIL, Verdict.XFAIL, Verdict.XFAIL, Verdict.XFAIL),
        (Status.MISSING, Verdict.MISS, Verdict.MISS, Verdict.MISS),
    ],
)
def test_a_result_held_against_each_list(
    tmp_path: Path, status: Status, plain: Verdict, fails: Verdict, flakes: Verdict
) -> None:
    assert verdict(Lists(), status).verdict is plain
    (tmp_path / "one").mkdir()
    listed = verdict(lists(tmp_path / "one", fails=f"{WHY}prime_vgem@a,Fail\n"), status)
    assert listed.verdict is fails
    if status in (Status.PASS, Status.FAIL, Status.CRASH):
        assert "x.c" in listed.reason or "fails.txt:2 expects Fail" in listed.reason
    (tmp_path / "two").mkdir()
    flake = verdict(lists(tmp_path / "two", flakes=f"{WHY}prime_vgem@[ab],Fail\n"), status)
    assert flake.verdict is flakes
    if status is Status.FAIL:
        assert "known flake" in flake.reason and "it said so" in flake.reason


CASES = (Case("a", Status.PASS), Case("b", Status.FAIL))


@pytest.mark.parametrize(
    ("output", "ended", "wanted", "said"),
    [
        (Output(CASES), DONE, Verdict.PASS, "1 Pass, 1 Fail"),
        (Output(CASES, problem="half a plan"), DONE, Verdict.ERROR, "half a plan (exit status 0"),
        (Output(CASES, ended="it bailed out: x"), Ended(1), Verdict.FAIL, "bailed out"),
        (Output((), skipped="no device"), Ended(4), Verdict.SKIP, "no device"),
        (Output(CASES, problem="cut"), Ended(139), Verdict.FAIL, "died of signal 11"),
        (Output(CASES, problem="cut"), Ended(137, 60.0), Verdict.FAIL, "over 60 s"),
        (Output(CASES, problem="x"), Ended(0, truncated=True), Verdict.ERROR, "more than is taken"),
    ],
)
def test_the_program_itself(output: Output, ended: Ended, wanted: Verdict, said: str) -> None:
    own, cases = judge("prime_vgem", output, ended, Lists())
    assert own.verdict is wanted and said in own.reason
    assert [one.name for one in cases] == [case.name for case in output.cases]


def test_a_program_that_is_expected_to_crash(tmp_path: Path) -> None:
    found = lists(tmp_path, fails=f"{WHY}prime_vgem,Crash\n")
    own, _ = judge("prime_vgem", Output((), problem="cut"), Ended(139), found)
    assert own.verdict is Verdict.XFAIL
    own, _ = judge("prime_vgem", Output(CASES), DONE, found)
    assert own.verdict is Verdict.XPASS


CUT = Output(CASES, ended="it gave up", untold=("#3", "#4"))


@pytest.mark.parametrize(
    ("entry", "ended", "wanted"),
    [
        ("", Ended(1), Verdict.FAIL),
        ("prime_vgem@#3,Fail", Ended(1), Verdict.XFAIL),
        ("prime_vgem@#3,Fail", Ended(139), Verdict.FAIL),
        ("prime_vgem@#4,Fail", Ended(1), Verdict.FAIL),
        ("prime_vgem,Fail", Ended(1), Verdict.FAIL),
        ("prime_vgem@#3,Timeout", Ended(137, 60.0), Verdict.XFAIL),
    ],
)
def test_a_program_is_expected_to_end_at_one_test_in_one_way(
    tmp_path: Path, entry: str, ended: Ended, wanted: Verdict
) -> None:
    for kind in ("fails", "flakes"):
        folder = tmp_path / kind
        folder.mkdir()
        own, cases = judge(
            "prime_vgem", CUT, ended, lists(folder, **{kind: f"{WHY}{entry}\n" if entry else ""})
        )
        assert own.verdict is wanted and own.name == ""
        behind = Verdict.SKIP if wanted is Verdict.XFAIL else Verdict.MISS
        assert [(one.name, one.verdict) for one in cases[2:]] == [("#3", wanted), ("#4", behind)]


def test_a_program_that_runs_on_where_it_was_to_end_passes_unexpectedly(tmp_path: Path) -> None:
    found = lists(tmp_path, fails=f"{WHY}prime_vgem@#2,Fail\n")
    own, cases = judge("prime_vgem", Output(CASES), DONE, found)
    assert own.verdict is Verdict.XPASS and "fails.txt:2 expects it to end" in own.reason
    assert len(cases) == 2


def test_what_a_program_that_gives_up_does_not_run_is_skipped() -> None:
    output = Output(CASES, skipped="no more memory", untold=("#3",))
    own, cases = judge("prime_vgem", output, Ended(4), Lists())
    assert own.verdict is cases[-1].verdict is Verdict.SKIP and cases[-1].name == "#3"


def test_a_name_that_no_program_has_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    found = lists(tmp_path, fails=f"{WHY}prime_vgem@basic-raed,Fail\nsync:sync_test@x,Fail\n")
    output = Output((Case("basic-read", Status.PASS),))
    own, cases = judge("prime_vgem", output, DONE, found)
    assert own.verdict is Verdict.ERROR and "did you mean 'basic-read'?" in own.reason
    assert "fails.txt:2" in own.reason and len(cases) == 1


def test_what_a_list_names_is_missed_where_the_program_died(tmp_path: Path) -> None:
    found = lists(tmp_path, fails=f"{WHY}prime_vgem@c,Fail\n")
    own, cases = judge("prime_vgem", Output(CASES, problem="cut"), Ended(139), found)
    assert own.verdict is Verdict.FAIL
    assert cases[-1].name == "c" and cases[-1].verdict is Verdict.MISS
    assert "never ran: Crash: it died of signal 11" in cases[-1].reason


def test_a_skip_that_was_run_all_the_same_is_an_error(tmp_path: Path) -> None:
    found = lists(tmp_path, skips=f"{WHY}prime_vgem@b\n")
    own, _ = judge("prime_vgem", Output(CASES), DONE, found)
    assert own.verdict is Verdict.ERROR and "cannot leave out 'b' alone" in own.reason
    assert found.skip("prime_vgem") is None and found.skip("prime_vgem@b") is not None


LEFT = {"dma_fence_left": "3 count left after 2000 ms"}


@pytest.mark.parametrize(
    ("entry", "own", "left", "verdicts", "all_known"),
    [
        ("", Verdict.PASS, LEFT, [], False),
        ("prime_vgem@dma_fence_left,Leak", Verdict.PASS, LEFT, [Verdict.XFAIL], True),
        ("prime_vgem@dma_fence_left,Fail", Verdict.PASS, LEFT, [], False),
        ("prime_vgem@dma_buf_left,Leak", Verdict.PASS, LEFT, [Verdict.XPASS], False),
        ("prime_vgem@dma_buf_left,Leak", Verdict.FAIL, LEFT, [], False),
        ("prime_vgem@dma_fence_left,Leak", Verdict.PASS, {}, [Verdict.XPASS], True),
        (
            "prime_vgem@dma_fence_left,Leak",
            Verdict.PASS,
            LEFT | {"dma_buf_left": "1 count left after 2000 ms"},
            [Verdict.XFAIL],
            False,
        ),
    ],
)
def test_what_a_program_leaves_is_held_against_the_list(
    tmp_path: Path,
    entry: str,
    own: Verdict,
    left: dict[str, str],
    verdicts: list[Verdict],
    all_known: bool,
) -> None:
    found = lists(tmp_path, fails=f"{WHY}{entry}\n" if entry else "")
    cases, known = judge_left("prime_vgem", own, left, found)
    assert [case.verdict for case in cases] == verdicts and known is all_known
    assert all("x.c" in case.reason for case in cases)


def test_what_may_be_left_behind_is_no_test_of_the_program(tmp_path: Path) -> None:
    found = lists(tmp_path, fails=f"{WHY}prime_vgem@dma_fence_left,Leak\n")
    own, cases = judge("prime_vgem", Output(CASES), DONE, found)
    assert own.verdict is Verdict.PASS and len(cases) == len(CASES)
