"""The kernel's own selftests about buffer sharing, built from the source of the board's kernel."""

from __future__ import annotations

import pytest

from farm.external import tap
from farm.external.results import Output
from farm.image import kselftests
from farm.pytest_plugin.api import Programs

LIMIT_S = 600.0
"""Seconds are usual; the stress tests of sync take minutes under emulation on a busy machine."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    about = [pytest.mark.declared(kselftests.SELFTESTS[name].feature)]
    return about + ([pytest.mark.requirement("SYN-11")] if "sync" in name else [])


@pytest.mark.parametrize(
    "selftest", [pytest.param(name, marks=_marks(name)) for name in kselftests.SELFTESTS]
)
def test_kselftest(external, programs: Programs, selftest: str) -> None:
    """Run one selftest; its TAP is believed where its exit status does not contradict."""
    wanted = kselftests.SELFTESTS[selftest]
    source = kselftests.source_of(programs.made_of)
    if source is None:
        pytest.skip(f"nothing tells which source the kernel of {programs.profile.name} is from")
    bundle = kselftests.obtain(source, programs.profile.kernel_suites, progress=programs.progress)
    if wanted.program not in bundle.programs:
        pytest.skip(f"the selftest of {source.package} {source.version} prints no TAP to believe")

    def parse(out: str, err: str, status: int) -> Output:
        return tap.parse(out, status, group=tap.HEAP)

    external.settle([external.run(selftest, bundle, [wanted.program], parse, timeout_s=LIMIT_S)])
