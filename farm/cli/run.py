"""``farm run``: suites on boards, from power-off to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.carryout import carry_out
from farm.cli.dryrun import dry_run
from farm.cli.health import check_after_infra
from farm.cli.labs import CoordinatorOption, chosen_lab
from farm.cli.options import Options
from farm.cli.outcome import as_object, check_store, print_summary
from farm.cli.output import JsonFlag, err, print_json
from farm.cli.phases import Phases
from farm.cli.placing import Placing, check_features, check_owner
from farm.cli.resume import NoResume, resume_all
from farm.errors import UsageError
from farm.lab.turn import MAX_PRIORITY
from farm.settling import MAX_REPEATS

if TYPE_CHECKING:
    from farm.events import Effort
    from farm.image.own import Own
    from farm.inventory import BoardType

app = typer.Typer()


@app.command()
def run(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE",
            help="Suites to run (mapcache), or files or tests of them. Default: every suite.",
            show_default=False,
        ),
    ] = None,
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            "-b",
            metavar="NAME-or-TYPE",
            help="A board, or a board type for any free one of it. Repeat for several. "
            "Default: every free board of the lab.",
            show_default=False,
        ),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            metavar="KEY=VALUE",
            help="Only boards whose labgrid place has this tag. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature",
            metavar="NAME",
            help="Only boards whose type or image declares this feature (see: farm boards). "
            "Repeat for several.",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            metavar="PROFILE",
            envvar="FARM_IMAGE",
            help="Image that virtual boards boot (see: farm image list). Default: the board's own.",
            show_default=False,
        ),
    ] = "",
    kernel: Annotated[
        Path | None,
        typer.Option(
            "--kernel",
            metavar="FILE",
            help="Boot this arm64 kernel (Image or Image.gz) on virtual boards; the rest of the "
            "image and what it declares stay the profile's.",
            show_default=False,
        ),
    ] = None,
    modules: Annotated[
        Path | None,
        typer.Option(
            "--modules",
            metavar="DIR",
            help="The modules of --kernel, as `make modules_install` puts them.",
            show_default=False,
        ),
    ] = None,
    driver: Annotated[
        list[Path] | None,
        typer.Option(
            "--driver",
            metavar="FILE",
            help="Load this kernel module (.ko) on virtual boards: a driver under test. Stands in "
            "for the image's module of that name. Repeat for several, in order.",
            show_default=False,
        ),
    ] = None,
    failed: Annotated[
        str,
        typer.Option(
            "--failed",
            metavar="RUN",
            help="Only what failed, broke or never ran in that run (`last` is the newest).",
            show_default=False,
        ),
    ] = "",
    keyword: Annotated[
        str, typer.Option("-k", metavar="EXPR", help="Only tests whose names match (pytest's -k).")
    ] = "",
    marker: Annotated[
        str, typer.Option("-m", metavar="EXPR", help="Only tests with these markers (pytest's -m).")
    ] = "",
    requirement: Annotated[
        list[str] | None,
        typer.Option(
            "--requirement",
            "-r",
            metavar="ID",
            help="Only tests of this requirement (see: farm requirements). Repeat for several.",
            show_default=False,
        ),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List what would run; boots nothing.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Put the run's folder (journals, logs, report) here. Default: the data folder.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, metavar="SECONDS", help="Wait for held boards: any that will do."
        ),
    ] = 0.0,
    priority: Annotated[
        float,
        typer.Option(
            "--priority",
            min=-MAX_PRIORITY,
            max=MAX_PRIORITY,
            metavar="N",
            envvar="FARM_PRIORITY",
            help="Be served before who waits with less; 1 is worth 10 minutes of waiting.",
        ),
    ] = 0.0,
    owner: Annotated[
        str,
        typer.Option(
            "--owner",
            metavar="NAME",
            envvar="FARM_OWNER",
            help="Whose run it is: owners share the lab fairly. Default: who is logged in.",
            show_default=False,
        ),
    ] = "",
    together: Annotated[
        bool,
        typer.Option(
            "--together", help="Start no job before all boards are had; hold all of them or none."
        ),
    ] = False,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say which boards would be taken or waited for, and why not others."
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            envvar="FARM_SEED",
            help="What stress cases decide by: the same seed, the same decisions. "
            "Default: drawn, and printed.",
            show_default=False,
        ),
    ] = None,
    stress_seconds: Annotated[
        float | None,
        typer.Option(
            "--stress-seconds",
            metavar="N",
            envvar="FARM_STRESS_SECONDS",
            help="How long each stress case goes on; below 1, what is timed is repeated less "
            "often, too. Default: 2.",
            show_default=False,
        ),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            metavar="N",
            envvar="FARM_REPEAT",
            help="Replicates of each test: medians count, and the worst verdict.",
        ),
    ] = 1,
    retry_infra: Annotated[
        bool,
        typer.Option(
            "--retry-infra",
            help="Try on another board of the type, or on the same once more, what was left open: "
            "INFRA, and what never ran since board, lab or worker was lost.",
        ),
    ] = False,
    retry_new: Annotated[
        int,
        typer.Option(
            "--retry-new",
            min=0,
            max=MAX_REPEATS,
            metavar="N",
            help="Repeat each new failure N times on its board and on another of the type, to tell "
            "a regression from a flaky test. Default: 0, not at all.",
        ),
    ] = 0,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Measure everything anew on exact boards, also where nothing has changed.",
        ),
    ] = False,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check", help="Leave boards alone on which a test ended in INFRA: no health check."
        ),
    ] = False,
    no_resume: NoResume = False,
    coordinator: CoordinatorOption = None,
    db: Annotated[
        str | None,
        typer.Option("--db", envvar="FARM_DB", help="Database of results.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run suites on boards and write a report.

    Takes each board through labgrid: lease, power-off, boot, tests, power-off, release. Boards run
    side by side. Without a lab (LG_COORDINATOR, --coordinator, `farm lab up`) two virtual boards
    are brought up for the time of the run. Ctrl-C once ends in order and keeps the results.

    Examples:

      farm run                                every suite on every free board

      farm run mapcache --board virt-smmuv3   one suite on one board of that type

      farm run --failed last                  once more what did not pass

      farm run --list                         what there is to run, by board type

      farm run --requirement MAP-1            the tests of one requirement

      farm run sync --stress-seconds 60 --seed 7   longer, with these decisions

      farm run mapcache --repeat 5            five replicates of each test, for medians

      farm run --retry-infra --retry-new 5    tell a regression from a flaky test, or a broken board

      farm run --driver my.ko --image debian-12   a driver of your own, on Debian 12's kernel

      farm run --feature codec --wait 3600 --dry-run   what would be taken, what waited for

    Exits 1 if a test failed or broke, 3 if a board or the lab did or nothing ran, else 0.
    """
    from farm.board.payload import needs_of_cases
    from farm.image.own import read_own
    from farm.inventory import load_board_types
    from farm.lab.placement import parse_match
    from farm.pytest_plugin.catalogue import Narrowing
    from farm.requirements import check_known, load_requirements
    from farm.run.followups import Rules
    from farm.run.selection import choose_suites

    if requirement:
        check_known(requirement, load_requirements())
    needs_of_cases()  # no two have one name: told before a board is taken
    own = read_own(kernel, modules, driver or ())
    types = load_board_types()
    options = Options(
        suites=choose_suites(suites or []),
        boards=tuple(board or ()),
        match=parse_match(match or []),
        image=image,
        own=own,
        narrowing=Narrowing(keyword, marker, tuple(requirement or ())),
        out=to,
        coordinator=_lab_for(own, coordinator),
        db=db,
        wait_s=wait,
        effort=_effort(seed=seed, stress_s=stress_seconds, repeat=repeat),
        cached=not no_cache,
        rules=Rules(retry_infra, retry_new),
        placing=Placing(
            features=check_features(feature or (), types),
            owner=check_owner(owner),
            priority=priority,
            together=together,
        ),
    )
    if image:
        from farm.inventory import load_image_profile

        load_image_profile(image)
    if not (dry or listing):  # these write nothing
        check_store(db)
        if not no_resume:
            resume_all(types)
    phases = Phases()
    select = None
    if failed:
        options, select = _repeat(options, failed, explicit=bool(suites))
    if listing:
        from farm.cli.listing import list_tests

        list_tests(options, types, select, as_json=as_json)
        return
    if options.narrowing or any("::" in word for word in options.suites):
        with phases.phase("choose"):
            options, select = _narrow(options, types, select)
    if dry:
        dry_run(options, types, select, as_json=as_json)
        return
    outcome = carry_out(options, types, select, phases)
    if as_json:
        print_json(as_object(outcome))
    else:
        print_summary(outcome)
        err().print(str(phases), style="dim")
    if options.coordinator and not no_check:  # boards of the run's own are gone by now
        check_after_infra(outcome.jobs, options.coordinator, types, err().print)
    raise typer.Exit(outcome.exit)


def _effort(**chosen: float | None) -> Effort:
    """Return how long, how often and with which seed to test.

    Raises:
        UsageError: a number is out of bounds; names the option.
    """
    from pydantic import ValidationError

    from farm.events import Effort

    try:
        return Effort.model_validate({k: v for k, v in chosen.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = {"stress_s": "stress-seconds"}.get(str(first["loc"][0]), first["loc"][0])
        raise UsageError(f"--{option} {first['input']}: {first['msg']}") from error


def _lab_for(own: Own, coordinator: str | None) -> str:
    """Return the coordinator to use; what is the user's own needs boards of this run's own."""
    if not own:
        return chosen_lab(coordinator)
    if coordinator:
        raise UsageError(
            "the boards of a lab that is up boot what they were set up with: no --kernel, --driver",
            next_step="leave out --coordinator and LG_COORDINATOR; virtual boards are then brought "
            "up for the run",
        )
    return ""


def _repeat(
    options: Options, failed: str, *, explicit: bool
) -> tuple[Options, dict[str, list[str]]]:
    """Return the options and the node ids by board type that repeat what a run did not settle."""
    from dataclasses import replace

    from farm.analysis import unsettled
    from farm.store import load_run, open_store, resolve_run

    with open_store(options.db, make=False) as store:
        run_id = resolve_run(store, failed)
        rows = unsettled(load_run(store, run_id))
        seeded = next((job.effort for job, test in rows if test.seeded), None)
    select: dict[str, list[str]] = {}
    for job, test in rows:
        select.setdefault(job.board_type, []).append(test.nodeid)
    if not select:
        raise UsageError(
            f"run {run_id} has nothing to repeat: no FAIL, XPASS, ERROR, NEW, INFRA or MISS",
            next_step="leave out --failed to run everything",
        )
    changes: dict[str, Any] = {}
    if seeded is not None:  # what the command line says, above what that run was told
        told = options.effort.model_dump(exclude_unset=True)
        changes["effort"] = seeded.model_copy(update={"repeat": 1, **told})
    if not explicit:
        files = {nodeid.partition("::")[0] for ids in select.values() for nodeid in ids}
        changes["suites"] = sorted(files)
    if not options.boards:
        changes["boards"] = tuple(sorted(select))
    return replace(options, **changes), {n: list(dict.fromkeys(ids)) for n, ids in select.items()}


def _narrow(
    options: Options, types: Mapping[str, BoardType], select: Mapping[str, Sequence[str]] | None
) -> tuple[Options, dict[str, list[str]]]:
    """Return the options and the node ids by board type that what was asked for comes to.

    ``select`` are node ids by board type that limit it further. A board type with nothing to run is
    left out.
    """
    from dataclasses import replace

    from farm.cli.chosen import chosen_tests

    narrowed = {
        name: [one.nodeid for one in tests]
        for name, tests in chosen_tests(options, types, select).items()
    }
    for name, tests in narrowed.items():
        if not tests:
            err().print(f"{name}: left out, none of what was chosen runs there")
    found = {name: tests for name, tests in narrowed.items() if tests}
    boards = options.boards if options.coordinator else (options.boards or tuple(narrowed))
    files = dict.fromkeys(word.partition("::")[0] for word in options.suites)
    kept = tuple(word for word in boards if word in found or word not in narrowed)
    return replace(options, suites=list(files), boards=kept), found
