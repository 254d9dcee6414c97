"""The identity of a series: which samples may be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from farm.events import to_json

KEY_LENGTH = 32
"""Length of a series key in hexadecimal digits."""


class SeriesKeys:
    """The keys of one test's series, under which samples may be compared.

    Kernel release and image are not part of them: they are what varies. What all samples of a test
    have in common is written once, as there are hundreds of them.
    """

    def __init__(
        self,
        *,
        board_type: str,
        hardware: Mapping[str, str],
        case: str,
        case_hash: str,
        case_params: Mapping[str, str],
    ) -> None:
        """Take what is the same for all samples of the test.

        ``case`` is the payload case, or the test's own name where it runs none.
        """
        shared = [board_type, dict(hardware), case, case_hash, dict(case_params)]
        self._shared = to_json(shared).removesuffix("]")
        self._params: dict[tuple[tuple[str, str], ...], str] = {}

    def key(self, sample_params: Mapping[str, str], metric: str) -> str:
        """Return the key of a metric with these parameters: the hash of a JSON list of all."""
        named = tuple(sample_params.items())
        params = self._params.get(named)
        if params is None:
            params = self._params[named] = to_json(dict(named))
        identity = f"{self._shared},{params},{to_json(metric)}]"
        return hashlib.sha256(identity.encode()).hexdigest()[:KEY_LENGTH]
