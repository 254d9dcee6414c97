"""The private apt root, where apt itself answers without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import ImageError
from farm.image import apt


def test_a_package_is_gone_only_where_apt_says_so(tmp_path: Path) -> None:
    with apt.apt_root("trixie", tmp_path) as archive:
        with pytest.raises(
            apt.PackageGone, match="'no-such-package' is not in Debian suite 'trixie'"
        ):
            archive.lookup("no-such-package")
        (folder,) = tmp_path.iterdir()
        (folder / "apt.conf").write_text('Dir "x\n}\n')
        with pytest.raises(
            ImageError, match="apt-cache failed for Debian suite 'trixie': Syntax error"
        ) as told:
            archive.lookup("no-such-package")
        assert not isinstance(told.value, apt.PackageGone)
