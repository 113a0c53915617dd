from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.images.augment import augment


def ramp(height: int, width: int) -> np.ndarray[Any, Any]:
    """Grey that becomes brighter from left to right."""
    return np.broadcast_to(np.linspace(60, 180, width)[None, :, None], (height, width, 3)).astype(np.uint8)


def copies(pixels: np.ndarray[Any, Any], size: tuple[int, int], n: int = 40) -> list[np.ndarray[Any, Any]]:
    return [augment(pixels, size, np.random.default_rng(seed)) for seed in range(n)]


@pytest.mark.parametrize("size", [(224, 224), (28, 56), (2, 3)])
def test_copies_have_the_size_that_is_wanted_and_one_seed_is_one_copy(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[0] * 8 // 7 + 1, size[1] * 8 // 7 + 1, 3), dtype=np.uint8)
    found = copies(pixels, size, 4)
    assert {(one.shape, one.dtype.name) for one in found} == {((*size, 3), "uint8")}
    np.testing.assert_array_equal(found[1], augment(pixels, size, np.random.default_rng(1)))
    assert len({one.tobytes() for one in found}) == 4


def test_half_of_them_are_mirrored() -> None:
    falling = [one[:, :5].mean() > one[:, -5:].mean() for one in copies(ramp(64, 64), (56, 56), 200)]
    assert 80 <= sum(falling) <= 120


def test_what_is_beyond_the_edge_is_never_black() -> None:
    for one in copies(np.full((64, 64, 3), 200, dtype=np.uint8), (56, 56), 200):
        assert len(np.unique(one)) == 1
        assert 200 * 0.79 <= one[0, 0, 0] <= 241


def test_a_cut_shows_most_of_the_image() -> None:
    for one in copies(ramp(64, 64), (56, 56)):
        shown = one.max() / one.min()  # brightness cancels out; contrast may change by a fifth
        assert 1.5 < shown < 4.5
