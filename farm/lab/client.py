"""labgrid-client as a command: what a person would type, under an identity of our choice."""

from __future__ import annotations

import getpass
import os
import socket
import sys


def own_identity() -> str:
    """Return the ``host/user`` that labgrid-client has when it is called from here."""
    host = os.environ.get("LG_HOSTNAME", socket.gethostname())
    return f"{host}/{os.environ.get('LG_USERNAME', getpass.getuser())}"


def command(
    address: str, place: str, identity: str, *words: str
) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment of labgrid-client on a place, as ``identity``.

    The caller's own LG variables are left out: they may name another place or token.
    """
    host, _, user = identity.partition("/")
    env = {key: value for key, value in os.environ.items() if not key.startswith("LG_")}
    env |= {"LG_HOSTNAME": host, "LG_USERNAME": user}
    return [sys.executable, "-m", "labgrid.remote.client", "-x", address, "-p", place, *words], env
