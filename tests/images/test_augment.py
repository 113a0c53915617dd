from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.images.augment import augment


def ramp(height: int, width: int) -> np.ndarray[Any, Any]:
    """Return gray pixels that get brighter from left to right."""
    return np.broadcast_to(np.linspace(60, 180, width)[None, :, None], (height, width, 3)).astype(np.uint8)


def copies(pixels: np.ndarray[Any, Any], size: tuple[int, int], n: int = 40) -> list[np.ndarray[Any, Any]]:
    return [augment(pixels, size, np.random.default_rng(seed)) for seed in range(n)]


@pytest.mark.parametrize("size", [(224, 224), (28, 56), (2, 3)])
def test_copies_have_the_given_size_and_depend_on_the_seed(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[0] * 8 // 7 + 1, size[1] * 8 // 7 + 1, 3), dtype=np.uint8)
    augmented = copies(pixels, size, 4)
    assert {(copy.shape, copy.dtype.name) for copy in augmented} == {((*size, 3), "uint8")}
    np.testing.assert_array_equal(augmented[1], augment(pixels, size, np.random.default_rng(1)))
    assert len({copy.tobytes() for copy in augmented}) == 4


def test_half_of_the_copies_are_mirrored() -> None:
    falling = [copy[:, :5].mean() > copy[:, -5:].mean() for copy in copies(ramp(64, 64), (56, 56), 200)]
    assert 80 <= sum(falling) <= 120


def test_pixels_beyond_the_edge_are_reflected() -> None:
    for copy in copies(np.full((64, 64, 3), 200, dtype=np.uint8), (56, 56), 200):
        assert len(np.unique(copy)) == 1
        assert 200 * 0.79 <= copy[0, 0, 0] <= 241


def test_crop_shows_most_of_the_image() -> None:
    for copy in copies(ramp(64, 64), (56, 56)):
        shown = copy.max() / copy.min()  # brightness cancels out; contrast may change by a fifth
        assert 1.5 < shown < 4.5
