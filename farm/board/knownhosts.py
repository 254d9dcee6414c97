"""Host keys of boards that are pinned in a file in ssh's ``known_hosts`` format."""

from __future__ import annotations

from pathlib import Path

import paramiko

from farm.errors import BoardError

_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def pinned_key(known_hosts: Path, host: str, port: int) -> str:
    """Return the key that the file pins for a host, as ``type base64``; Ed25519 if it has several.

    Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

    Raises:
        BoardError: the file cannot be read, or has no key for the host.
    """
    name = host if port == 22 else f"[{host}]:{port}"
    try:
        keys = paramiko.HostKeys(str(known_hosts)).lookup(name)
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError(
            f"{name}: the known_hosts file {known_hosts} cannot be read: {error}",
            next_step="correct farm.ssh.known_hosts in the board config",
        ) from error
    if not keys:
        raise BoardError(
            f"{name}: {known_hosts} has no host key for it",
            next_step=f"get it with 'ssh-keyscan -p {port} {host}', compare it with the one on the "
            "board (ssh-keygen -lf), and add the line to the file",
        )
    kind = next((kind for kind in _KINDS if kind in keys), next(iter(keys)))
    return f"{kind} {keys[kind].get_base64()}"
