"""Sharing: a driver that comes and goes leaves nothing behind."""

import pytest

from farm.pytest_plugin.api import control

ROUNDS = 20


@pytest.mark.requirement("SHR-8")
@pytest.mark.case("device_frames")
@pytest.mark.over(exporter="udmabuf exporter", importer="refdev importer")
def test_idle_driver_can_be_reloaded(board, exporter, importer):
    """A driver in use stays, an idle one unloads every time, and works as before after that."""
    board.run("device_frames", exporter=exporter, importer=importer, frames=2, size=65536)
    # The last fence of a buffer that is closed holds the module until RCU has let go of it.
    board.command(
        "for i in 1 2 3 4 5 6 7 8 9 10; do grep -q '^refdev [0-9]* 0 ' /proc/modules && exit 0;"
        " sleep 0.1; done; cat /proc/modules; exit 1"
    )
    refused = board.command(
        "exec 7<>/dev/refdev0; rmmod refdev 2>/dev/null && echo unloaded || echo refused"
    )
    control(refused.strip() == "refused", "the driver was unloaded with a file open")
    board.command(
        f"set -e; i=0; while [ $i -lt {ROUNDS} ]; do rmmod refdev; modprobe refdev;"
        " [ -c /dev/refdev0 ]; i=$((i+1)); done"
    )
    board.run("device_frames", exporter=exporter, importer=importer, frames=2, size=65536)
