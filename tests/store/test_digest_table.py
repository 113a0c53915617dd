from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.store.digest_table import DigestOrder
from featx.testing.store_contract import make_digests


@given(
    stored=st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=5),
    wanted=st.lists(st.integers(0, 60), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_the_index_finds_exactly_what_is_stored(stored: list[list[int]], wanted: list[int]) -> None:
    # Digests that share their first half make the binary search collide.
    order = DigestOrder([make_digests(segment) for segment in stored])
    flat = [number for segment in stored for number in segment]
    places = order.find(make_digests(wanted))
    for number, place in zip(wanted, places.tolist(), strict=True):
        assert (place >= 0) == (number in flat)
        if place >= 0:
            assert flat[place] == number
            (segment,), (offset,) = order.locate(np.array([place]))
            assert stored[segment][offset] == number


def test_the_table_is_small_and_gives_the_digests_back() -> None:
    segments = [make_digests(range(n, n + 500)) for n in (0, 900, 4000)]
    order = DigestOrder(segments)
    assert len(order) == 1500
    assert order.nbytes <= 33 * 1500
    for number, digests in enumerate(segments):
        np.testing.assert_array_equal(order.digests_of(number), digests)


def test_an_empty_table_finds_nothing() -> None:
    assert DigestOrder([]).find(make_digests([1, 2])).tolist() == [-1, -1]
    assert DigestOrder([make_digests([1])]).find(make_digests([])).tolist() == []
