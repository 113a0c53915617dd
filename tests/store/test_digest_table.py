from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.store.digest_table import DigestTable
from featx.testing.row_store import make_digests


@given(
    stored=st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=5),
    requested=st.lists(st.integers(0, 60), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_find_stored_digests(stored: list[list[int]], requested: list[int]) -> None:
    # All digests have the same first half, so that the binary search must compare the second.
    table = DigestTable([make_digests(segment) for segment in stored])
    flat = [number for segment in stored for number in segment]
    positions = table.find(make_digests(requested))
    for number, position in zip(requested, positions.tolist(), strict=True):
        assert (position >= 0) == (number in flat)
        if position >= 0:
            assert flat[position] == number
            (segment,), (offset,) = table.locate(np.array([position]))
            assert stored[segment][offset] == number


def test_size_and_digests() -> None:
    segments = [make_digests(range(n, n + 500)) for n in (0, 900, 4000)]
    table = DigestTable(segments)
    assert len(table) == 1500
    assert table.nbytes <= 33 * 1500
    for number, digests in enumerate(segments):
        np.testing.assert_array_equal(table.digests_of(number), digests)


def test_empty_table() -> None:
    assert DigestTable([]).find(make_digests([1, 2])).tolist() == [-1, -1]
    assert DigestTable([make_digests([1])]).find(make_digests([])).tolist() == []
