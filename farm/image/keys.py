"""SSH keys of one image: the board's host key and the key that logs in.

Both are Ed25519, made for one image and kept in its folder, so nobody but who can read the cache
folder reaches the board, and the host key can be pinned before the board ever ran.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 key in the forms that SSH programs read.

    ``private`` is OpenSSH's PEM, ``public`` is ``ssh-ed25519 AAAA…`` without a comment,
    ``dropbear`` is dropbear's private key file.
    """

    private: bytes
    public: str
    dropbear: bytes


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def generate() -> KeyPair:
    """Return a new key pair.

    Dropbear's file is the key's type and then private and public half in one string (signkey.c,
    ed25519.c of dropbear).
    """
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return KeyPair(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        public=key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        dropbear=_string(b"ssh-ed25519") + _string(seed + point),
    )
