"""Which resources are a place's: the same as labgrid says, in a lab of any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from labgrid.remote import common

from farm.lab.coordinator import _Exported, _place
from farm.lab.place import Resource

NAMES = st.sampled_from(["a", "b", "ab", "a.b"])
PATTERNS = st.sampled_from(["a", "b", "ab", "*", "a*", "?", "[ab]", "a.b"])


@given(
    st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), max_size=12),
    st.lists(st.tuples(PATTERNS, PATTERNS, PATTERNS, st.none() | PATTERNS), min_size=1, max_size=4),
)
def test_a_place_has_what_its_patterns_match(
    paths: list[tuple[str, str, str, str]],
    patterns: list[tuple[str, str, str, str | None]],
) -> None:
    place = common.Place("place")
    place.matches = [common.ResourceMatch(*pattern) for pattern in patterns]
    exported = _Exported(Resource(*path, True, "", {}) for path in paths)
    made = _place(place.as_pb2(), exported)
    found = [(one.exporter, one.group, one.cls, one.name) for one in made.resources]
    whole = common.Place.from_pb2(place.as_pb2())
    assert found == sorted({path for path in paths if whole.hasmatch(path)})
    unmatched = [match for match in whole.matches if not any(map(match.ismatch, paths))]
    assert list(made.missing) == [repr(match) for match in unmatched]
