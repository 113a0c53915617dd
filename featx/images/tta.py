"""Test-time augmentation: views of an image (crops, mirror images, rotations), cut from the decoded pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from featx.errors import OptionError
from featx.images.augment import augment
from featx.recipe import LAYER_SEPARATOR, Recipe
from featx.system.array_types import BoolArray, DigestArray, FloatArray
from featx.system.option_checks import check_choice

#: Name of the unchanged image, as in recipes without test-time augmentation.
PLAIN = ""
#: Values of `tta`, and the names of the views that are averaged. The rows of each view are cached under a recipe of
#: their own, which has the name of the view in its field `tta`.
VIEWS = {
    "flip": (PLAIN, "mirrored"),
    "five-crop": ("top-left", "top-right", "bottom-left", "bottom-right", "center"),
    "rotations": (PLAIN, "rotated-90", "rotated-180", "rotated-270"),
}
_QUARTER_TURNS = {"rotated-90": 1, "rotated-180": 2, "rotated-270": 3}
#: Position of each crop: fraction of the free space above and to the left.
_CROPS = {"top-left": (0, 0), "top-right": (0, 1), "bottom-left": (1, 0), "bottom-right": (1, 1), "center": (0.5, 0.5)}
#: Prefix of the names of randomly augmented views; the number is the revision of :func:`featx.images.augment.augment`.
_AUGMENTED = "augment-1"

Pixels = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class ViewSet:
    """The views of each image in a recipe.

    Attributes
    ----------
    names : tuple of str
        Names of the views; ``""`` is the unchanged image.
    size : tuple of (int, int)
        Height and width of a view.
    is_averaged : bool
        Whether the row of an image is the mean over its views. Otherwise it has one row per view.

    Examples
    --------
    >>> recipe = Recipe("mobilenet", "9c4f", (224, 224), "out", "avg", "squash", "float32", tta="five-crop")
    >>> ViewSet.of(recipe).decoded_size
    (256, 256)
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    is_averaged: bool = True

    @classmethod
    def of(cls, recipe: Recipe) -> ViewSet:
        """Return the views of a recipe."""
        if recipe.tta in VIEWS:
            return cls(VIEWS[recipe.tta], recipe.image_size)
        names = tuple(recipe.tta.split(LAYER_SEPARATOR))
        return cls(names, recipe.image_size, is_averaged=not recipe.tta.startswith(_AUGMENTED))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Height and width that an image is decoded to: 8/7 of the size of a view if views are crops."""
        if set(self.names) <= {PLAIN, "mirrored", *_QUARTER_TURNS}:
            return self.size
        return (-(-self.size[0] * 8 // 7), -(-self.size[1] * 8 // 7))

    def cut(self, pixels: Pixels, digests: DigestArray, selected: BoolArray) -> Pixels:
        """Return the selected views of images; the first view of all images comes first.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (n_images, *decoded_size, 3)
        digests : ndarray of uint8 of shape (n_images, 16)
            Digests of the images: the seeds of random augmentations.
        selected : ndarray of bool of shape (n_views, n_images)

        Returns
        -------
        ndarray of uint8 of shape (n_selected, *size, 3)
        """
        if self.names == (PLAIN,):
            return pixels if selected.all() else pixels[selected[0]]
        views = [
            self._view(name, pixels[images], digests[images])
            for name, images in zip(self.names, selected, strict=True)
            if images.any()
        ]
        return np.concatenate(views)

    def _view(self, name: str, pixels: Pixels, digests: DigestArray) -> Pixels:
        if name == PLAIN:
            return pixels
        if name == "mirrored":
            return pixels[:, :, ::-1]
        if name in _QUARTER_TURNS:
            return np.rot90(pixels, _QUARTER_TURNS[name], axes=(1, 2))
        if name in _CROPS:
            (height, width), (y, x) = self.size, _CROPS[name]
            top, left = int(y * (pixels.shape[1] - height)), int(x * (pixels.shape[2] - width))
            return pixels[:, top : top + height, left : left + width]
        seed = [int(part) for part in name.removeprefix(f"{_AUGMENTED}-").split("-")]
        generators = [np.random.default_rng([*seed, int.from_bytes(digest.tobytes())]) for digest in digests]
        return np.stack([augment(image, self.size, rng) for image, rng in zip(pixels, generators, strict=True)])

    def combine(self, rows: Iterable[FloatArray]) -> FloatArray:
        """Return the rows of images from the rows of each view.

        Parameters
        ----------
        rows : iterable of ndarray of float32 of shape (n_images, n_features)
            Rows of each view, in the order of `names`.

        Returns
        -------
        ndarray of float32 of shape (n_images, n_features)
            The shape is (n_images, n_views, n_features) if the views are not averaged.
        """
        if not self.is_averaged:
            return np.stack(list(rows), axis=1)
        total, *others = rows  # always summed in this order, so that cached and computed views give the same mean
        for other in others:
            total = total + other
        return total if len(self) == 1 else total / np.float32(len(self))


def augmented_views(n: int, random_state: int) -> str:
    """Return the field `tta` of a recipe of `n` randomly augmented copies of each image."""
    return LAYER_SEPARATOR.join(f"{_AUGMENTED}-{random_state}-{number}" for number in range(1, n + 1))


def check_tta(tta: Any, size: tuple[int, int]) -> None:
    """Check that `tta` is a known name and fits the image size.

    Raises
    ------
    OptionError
    """
    check_choice("tta", tta, VIEWS, allow_none=True)
    if tta == "rotations" and size[0] != size[1]:
        raise OptionError(
            f'tta="rotations" requires a square image_size, got {size}. Pass image_size=224 (--image-size 224), or '
            'tta="flip".'
        )
