"""A virtual board for a benchmark: a lab of its own, leased, booted through labgrid like any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from benchmarks.results import Bench
from farm import image
from farm.board import payload
from farm.board.lifetime import BoardLifetime
from farm.board.session import BoardSession
from farm.board.ssh import SshAddress
from farm.board.target import LabgridRig
from farm.inventory import load_board_types, load_image_profile
from farm.lab import virtual
from farm.lab.coordinator import local_host
from farm.lab.lease import Lease, LeaseRequest, new_identity
from farm.lab.virtual import VirtualLab

BOARD_TYPE = "virt-noiommu"
"""The type of all virtual boards here: the one that boots quickest."""


@contextmanager
def lab_of_one(bench: Bench) -> Iterator[VirtualLab]:
    """Give a virtual lab with one board, its image built if need be.

    Raises:
        ImageError: the image cannot be built.
        LabError: the lab does not come up.
    """
    profile = load_image_profile(load_board_types()[BOARD_TYPE].image)
    image.build(profile, progress=bench.say)
    with virtual.temporary({BOARD_TYPE: 1}) as lab:
        yield lab


@contextmanager
def booted(bench: Bench) -> Iterator[tuple[BoardSession, SshAddress]]:
    """Give a session on a virtual board without counters, and the board's SSH address.

    Raises:
        InfraError: the lab or the board does not come up.
    """
    board_type = load_board_types()[BOARD_TYPE]
    with lab_of_one(bench) as lab:
        (board,) = lab.boards
        request = LeaseRequest(
            coordinator=lab.coordinator,
            place=board.place,
            identity=new_identity(local_host()),
            run="bench",
            job=board.place,
        )
        lease = Lease.take(request, on_lost=bench.say)
        try:
            os.environ.update(lease.environment())
            rig = LabgridRig.from_config(board_type.config, bench.folder)
            with closing(rig):
                lifetime = BoardLifetime(rig, board_type, payload.build(), ())
                yield lifetime.session(), _address(lab)
                lifetime.off()
        finally:
            lease.release(board_off=True)


def _address(lab: VirtualLab) -> SshAddress:
    (board,) = lab.boards
    booted_image = image.find(board.image_id)
    return SshAddress(
        "127.0.0.1", board.ssh_port, "root", booted_image.client_key, booted_image.host_key
    )
