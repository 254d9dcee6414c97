"""The identity of a series: which samples may be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from farm.events import to_json

KEY_LENGTH = 32
"""Length of a series key in hexadecimal digits."""


def series_key(
    *,
    board_type: str,
    hardware: Mapping[str, str],
    case: str,
    case_hash: str,
    case_params: Mapping[str, str],
    sample_params: Mapping[str, str],
    metric: str,
) -> str:
    """Return the key under which samples may be compared.

    Kernel release and image are not part of it: they are what varies. ``case`` is the payload case,
    or the test's own name where it runs none.
    """
    identity = [
        board_type,
        dict(hardware),
        case,
        case_hash,
        dict(case_params),
        dict(sample_params),
        metric,
    ]
    return hashlib.sha256(to_json(identity).encode()).hexdigest()[:KEY_LENGTH]
