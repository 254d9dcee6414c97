"""A board as labgrid sees it: from a board config to power, console and link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import requests
from labgrid import Environment
from labgrid.binding import BindingError, StateError
from labgrid.driver.exception import ExecutionError
from labgrid.exceptions import (
    InvalidConfigError,
    NoDriverFoundError,
    NoResourceFoundError,
    NoSupplierFoundError,
)
from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY
from labgrid.remote.client import Error as ClientError
from labgrid.strategy import StrategyError

from farm.board import access
from farm.board.console import escape
from farm.board.recorder import Console
from farm.board.ssh import SshLink
from farm.errors import BoardError, FarmError, LabError

_LAB_ERRORS = (
    ClientError,
    NoResourceFoundError,
    NoDriverFoundError,
    NoSupplierFoundError,
    BindingError,
    ConnectionError,
    grpc.RpcError,
)
_SAID = 1000
"""Bytes of an outlet's answer that are told."""

_BOARD_ERRORS = (ExecutionError, StateError, StrategyError, OSError)


class LabgridRig:
    """Power, console and link of a labgrid target: a :class:`farm.board.lifetime.Rig`."""

    strategy = "BoardStrategy"
    """The driver that takes the board from one state to the next."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        """Take the environment's target ``main``; the console is recorded into ``folder``.

        Raises:
            LabError: the coordinator, the place or one of its resources is not to be had.
        """
        self._environment = environment
        config = environment.config.filename
        with told_as_ours(f"{config}"):
            target = environment.get_target()
            if target is None:
                raise LabError(f"{config}: no target 'main'")
            self._target: Any = target
            self._strategy: Any = target.get_driver(self.strategy, activate=False)
            self.name = access.place_name(target)
        self.tags = access.tags(target)
        if self._strategy.console is not None:
            self._strategy.console.log_dir = str(folder)

    @classmethod
    def from_config(cls, config: Path, folder: Path) -> Self:
        """Make a rig of a board config, for the place that labgrid's variables name.

        Raises:
            LabError: as when it is made of an environment.
        """
        with told_as_ours(str(config)):
            return cls(Environment(str(config)), folder)

    @property
    def console(self) -> Console:
        """The recording of the board's console, or an empty one where it has none."""
        recording: Console = self._strategy.recording
        return recording

    @property
    def link(self) -> SshLink:
        """The connection, while the board is ready."""
        link: SshLink = self._strategy.ssh.link
        return link

    def boot(self) -> float:
        """Power-cycle the board, wait until it answers, and return the seconds it took.

        Raises:
            BootError: it did not become ready in time.
            BoardError: power or console failed.
        """
        with told_as_ours(self.name):
            self._strategy.power_cycle()
        return float(self._strategy.boot_s)

    def off(self) -> None:
        """Switch the board off, where something can, and end the recording.

        Raises:
            BoardError: the outlet does not obey.
        """
        with told_as_ours(self.name):
            self._strategy.transition("off")

    def close(self) -> None:
        """Let go of the target; the board stays as it is."""
        with told_as_ours(self.name):
            self._environment.cleanup()


def environment_of(stash: Any) -> Environment:
    """Return the environment that labgrid's pytest plugin has made of ``--lg-env``.

    Raises:
        LabError: that plugin is not loaded, or was given no ``--lg-env``.
    """
    environment: Environment | None = stash.get(LABGRID_ENV_KEY, None)
    if environment is None:
        raise LabError(
            "labgrid's pytest plugin has no environment",
            next_step="give --lg-env, and do not disable the plugin labgrid",
        )
    return environment


@contextmanager
def told_as_ours(what: str) -> Iterator[None]:
    """Raise what labgrid and its libraries raise as our own errors about ``what``."""
    try:
        yield
    except FarmError:
        raise
    except InvalidConfigError as error:
        cause = f": {_sentence(error.__cause__)}" if error.__cause__ else ""
        raise LabError(
            f"{what}: {_sentence(error)}{cause}",
            next_step="correct the drivers in the board config",
        ) from error
    except _LAB_ERRORS as error:
        raise LabError(
            f"{what}: {_sentence(error)}",
            next_step="check with 'labgrid-client who' and 'labgrid-client resources'",
        ) from error
    except requests.RequestException as error:
        raise BoardError(
            f"{what}: {_outlet(error)}",
            next_step="check the outlet, or a virtual lab with 'farm lab status'",
        ) from error
    except EOFError as error:
        raise BoardError(
            f"{what}: a driver of labgrid's asks at the terminal, and there is none",
            next_step="take drivers out of the board config that ask for a hand (Manual…Driver)",
        ) from error
    except _BOARD_ERRORS as error:
        raise BoardError(f"{what}: {_sentence(error)}") from error


def _outlet(error: requests.RequestException) -> str:
    asked = error.request
    at = f" at {asked.url}" if asked is not None and isinstance(asked.url, str) else ""
    outlet = f"the power outlet{at}"
    if error.response is not None:
        answer = error.response
        said = "" if "html" in answer.headers.get("content-type", "") else _said(answer.content)
        return f"{outlet} answers with status {answer.status_code}, expected 200{said}"
    return f"{outlet} does not answer"


def _said(body: bytes) -> str:
    """Return what an outlet said beside its status, as one line; nothing where it said nothing."""
    words = " ".join(escape(line) for line in body[:_SAID].split(b"\n")).split()
    return f": {' '.join(words)}" if words else ""


def _sentence(error: BaseException) -> str:
    if isinstance(error, grpc.RpcError) and hasattr(error, "details"):
        return f"coordinator: {error.details()}"
    text = str(getattr(error, "msg", "") or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
