"""The initramfs writer against a small reader of its own."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.image.cpio import Entry, Tree, pack

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_characters="/"),
                min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))  # fmt: skip
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


def unpack(archive: bytes) -> dict[str, Entry]:
    """Read newc; independent of the writer."""
    found: dict[str, Entry] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        assert fields[2:4] == [0, 0] and fields[5] == 0
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = (at + 110 + length + 3) // 4 * 4
        at = (start + size + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert not archive[at:].strip(b"\0")
            return found
        found[f"/{name}"] = Entry(mode, archive[start : start + size], (fields[9], fields[10]))


@given(st.dictionaries(PATHS, st.binary(max_size=64), max_size=6))
def test_what_goes_in_comes_out(files: dict[str, bytes]) -> None:
    tree = Tree()
    for path, data in files.items():
        tree.file(path, data)
    archive = pack(tree)
    got = unpack(archive)
    assert got == tree.entries
    assert len(archive) % 512 == 0
    order = list(got)
    assert all(order.index(path.rsplit("/", 1)[0]) < order.index(path)
               for path in order if path.count("/") > 1)  # fmt: skip


@given(st.permutations(["/a/b", "/a/c", "/d", "/a.txt", "/e/f/g"]))
def test_the_order_of_adding_does_not_show(order: list[str]) -> None:
    shuffled, straight = Tree(), Tree()
    for path in order:
        shuffled.file(path, path.encode())
    for path in sorted(order):
        straight.file(path, path.encode())
    assert pack(shuffled) == pack(straight)


def test_every_kind_of_node() -> None:
    tree = Tree()
    tree.directory("/tmp", 0o1777)
    tree.symlink("/lib", "usr/lib")
    tree.character_device("/dev/console", 5, 1)
    got = unpack(pack(tree))
    assert got["/tmp"].mode == stat.S_IFDIR | 0o1777
    assert (got["/lib"].mode, got["/lib"].data) == (stat.S_IFLNK | 0o777, b"usr/lib")
    assert got["/dev/console"] == Entry(stat.S_IFCHR | 0o600, b"", (5, 1))
    assert stat.S_ISDIR(got["/dev"].mode)


@pytest.mark.parametrize("path", ["relative", "/a/../b"])
def test_a_path_that_leaves_the_tree_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        Tree().file(path, b"")
