"""``farm lab``: virtual labs of this machine."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.output import JsonFlag, add_row, err, out, print_json, table
from farm.cli.progress import steps
from farm.errors import UsageError

if TYPE_CHECKING:
    from farm.lab.virtual import VirtualLab

app = typer.Typer(
    no_args_is_help=True,
    help="Virtual labs: a labgrid coordinator and exporter with QEMU boards behind them.",
)

DEFAULT_NAME = "default"

NameOption = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", envvar="FARM_LAB", help="Which lab, where there are several."
    ),
]
BoardsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--boards",
        metavar="TYPE=N",
        help="How many boards of a type; repeatable. Default: one of each type whose board config "
        "says `default: true` (virt-smmuv3, virt-noiommu).",
        show_default=False,
    ),
]
ImageOption = Annotated[
    str,
    typer.Option(
        "--image",
        metavar="PROFILE",
        envvar="FARM_IMAGE",
        help="Image profile that all boards boot instead of their type's own.",
        show_default=False,
    ),
]


FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="BOARD=MODE[:ARG]",
        help="Break a board in this way until another mode is set (`none` heals it); repeatable. "
        "The modes are described in docs/faults.md.",
        show_default=False,
    ),
]


def parse_faults(words: list[str]) -> dict[str, str]:
    """Return places and their faults from words such as ``virt-smmuv3-1=hang:20``.

    Raises:
        UsageError: a word is of another form, or names a board twice.
    """
    found: dict[str, str] = {}
    for word in words:
        place, equals, fault = word.partition("=")
        if not (place and equals and fault):
            raise UsageError(
                f"--fault {word!r}: expected BOARD=MODE[:ARG]",
                next_step="for example --fault virt-smmuv3-1=no-boot",
            )
        if place in found:
            raise UsageError(f"--fault names {place!r} twice")
        found[place] = fault
    return found


def parse_boards(words: list[str]) -> dict[str, int]:
    """Return board types and their numbers from words such as ``virt-smmuv3=2``.

    Raises:
        UsageError: a word is of another form, or names a type twice.
    """
    found: dict[str, int] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not name or (equals and not (number.isascii() and number.isdigit())):
            raise UsageError(
                f"--boards {word!r}: expected TYPE=N",
                next_step="for example --boards virt-smmuv3=2",
            )
        if name in found:
            raise UsageError(f"--boards names {name!r} twice")
        found[name] = int(number[:4]) if equals else 1
    return found


def describe(lab: VirtualLab) -> dict[str, Any]:
    """Return a lab as the JSON object that the commands print."""
    return {
        "name": lab.name,
        "state": lab.state,
        "reason": lab.reason,
        "temporary": lab.temporary,
        "coordinator": lab.coordinator,
        "folder": str(lab.folder),
        "boards": [
            {
                "place": board.place,
                "board_type": board.board_type,
                "image": board.image,
                "image_id": board.image_id,
                "power_url": board.power_url,
                "fault_url": board.fault_url,
                "serial_port": board.serial_port,
                "ssh_port": board.ssh_port,
            }
            for board in lab.boards
        ],
    }


@app.command()
def up(
    boards: BoardsOption = None,
    name: NameOption = DEFAULT_NAME,
    image: ImageOption = "",
    fault: FaultOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Start a virtual lab that stays up until `farm lab down`.

    The boards are off until someone switches them on. A lab of that name and with the same boards
    that is up already is left as it is, but for its --fault.

    Examples:

      farm lab up

      farm lab up --boards virt-smmuv3=2 --boards virt-noiommu=1

      farm lab up --fault virt-smmuv3-1=hang:20
    """
    from farm.lab import virtual

    wanted = parse_boards(boards) if boards else None
    broken = parse_faults(fault or [])
    with steps() as tell:
        lab = virtual.up(name, wanted, profile=image, faults=broken, progress=tell)
    if as_json:
        print_json({"lab": describe(lab)})
        return
    _show([lab])
    again = "" if name == DEFAULT_NAME else f" --name {name}"
    err().print(f'use it from any shell: eval "$(farm lab env{again})"')


@app.command()
def down(name: NameOption = DEFAULT_NAME, as_json: JsonFlag = False) -> None:
    """End a virtual lab and every process of it; one that is not there is fine."""
    from farm.lab import virtual

    ended = virtual.down(name)
    if as_json:
        print_json({"name": name, "ended": ended})
    else:
        err().print(f"lab {name} is down" if ended else f"there was no lab {name}")


@app.command()
def status(
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Only this lab; exit 3 if it is not up.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the virtual labs of this machine and where their boards can be reached."""
    from farm.lab import virtual

    if name:
        one = virtual.status(name)
        labs = [one] if one else []
    else:
        labs = virtual.labs()
    if as_json:
        print_json({"labs": [describe(lab) for lab in labs]})
    elif labs:
        _show(labs)
    else:
        err().print("no virtual lab is up; start one with: farm lab up")
    if name and not any(lab.is_up for lab in labs):
        raise typer.Exit(3)


@app.command()
def env(name: NameOption = DEFAULT_NAME, as_json: JsonFlag = False) -> None:
    """Print shell commands that make labgrid-client, pytest and farm use a virtual lab.

    Example:

      eval "$(farm lab env)" && labgrid-client places
    """
    from farm.lab import virtual

    variables = virtual.environment(name)
    if as_json:
        print_json({"name": name, "environment": variables})
        return
    for key, value in variables.items():
        typer.echo(f"export {key}={shlex.quote(value)}")


def _show(labs: list[VirtualLab]) -> None:
    listing = table("lab", "state", "coordinator", "board", "type", "image", "serial", "ssh")
    for lab in labs:
        head = [lab.name, lab.state, lab.coordinator]
        for board in lab.boards:
            cells = [board.place, board.board_type, board.image]
            cells += [f"127.0.0.1:{board.serial_port}", f"127.0.0.1:{board.ssh_port}"]
            add_row(listing, head + cells, styles={1: "green" if lab.is_up else "red"})
            head = ["", "", ""]
        if not lab.boards:
            add_row(listing, [*head, "", "", "", "", ""], styles={1: "red"})
    out().print(listing)
    for lab in labs:
        if lab.reason:
            err().print(f"lab {lab.name}: {lab.reason}; logs are in {lab.folder}")
