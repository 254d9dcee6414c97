"""What the command line says of boards: features, owners, and the lab that a run has for itself."""

from __future__ import annotations

import pytest

from farm.cli.options import Options
from farm.cli.placing import Placing, check_features, check_owner, with_featured_types
from farm.errors import UsageError
from farm.events import Effort
from farm.image.own import Own
from farm.inventory import load_board_types
from farm.lab.lease import local_user
from farm.pytest_plugin.catalogue import Narrowing
from farm.run.followups import Rules

TYPES = load_board_types()


def options(*features: str, boards: tuple[str, ...] = (), coordinator: str = "") -> Options:
    return Options(
        suites=("sync",),
        boards=boards,
        match={},
        image="",
        own=Own(),
        narrowing=Narrowing(),
        out=None,
        coordinator=coordinator,
        db=None,
        wait_s=0.0,
        effort=Effort(),
        cached=True,
        rules=Rules(),
        placing=Placing(features=features),
    )


def test_a_feature_has_to_be_declared_somewhere() -> None:
    assert check_features(["iommu", "vivid", "iommu"], TYPES) == ("iommu", "vivid")
    with pytest.raises(UsageError, match=r"did you mean 'iommu'\?"):
        check_features(["iomu"], TYPES)


def test_an_owner_has_to_do_as_a_tag() -> None:
    assert check_owner("codec-team@lab") == "codec-team@lab"
    assert check_owner("") == local_user()
    for word in ("a b", "-a", "x" * 65, "ä", "a\n"):
        with pytest.raises(UsageError, match="--owner"):
            check_owner(word)


def test_a_lab_of_the_runs_own_has_boards_with_the_features() -> None:
    assert with_featured_types(options("iommu"), TYPES).boards == ("virt-smmuv3",)
    assert with_featured_types(options(), TYPES).boards == ()
    named = options("iommu", boards=("virt-smmuv3",) * 2)
    assert with_featured_types(named, TYPES) == named
    with pytest.raises(UsageError, match="board type virt-noiommu lacks iommu"):
        with_featured_types(options("iommu", boards=("virt-noiommu",)), TYPES)
    with pytest.raises(UsageError, match="no virtual board has nothing-has-it"):
        with_featured_types(options("nothing-has-it"), TYPES)


def test_a_lab_that_is_at_hand_is_asked_for_features_itself() -> None:
    there = options("nothing-has-it", coordinator="lab:20408")
    assert with_featured_types(there, TYPES) == there
