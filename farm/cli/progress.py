"""Progress of work with steps that take seconds: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from farm.cli.output import err, printable


@contextlib.contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Give a function that is told, in words, what goes on now; all of it goes to stderr."""
    if not sys.stderr.isatty():
        yield lambda text: print(printable(text), file=sys.stderr, flush=True)
        return
    console = err()
    with console.status("") as status:

        def tell(text: str) -> None:
            status.update(printable(text))

        yield tell
