"""The views of an image: which there are, and how their pixels are cut, mirrored and turned from one decoded image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from featx.errors import OptionError, did_you_mean
from featx.images.augment import augment
from featx.recipe import JOINT, Recipe
from featx.system.array_types import DigestArray, FloatArray

#: The image as it is without views, by the name that its recipe has: none.
PLAIN = ""
#: What may be asked for, and the views that are averaged; each but the plain one has a recipe of its own by its name.
VIEWS = {
    "flip": (PLAIN, "mirrored"),
    "five-crop": ("top-left", "top-right", "bottom-left", "bottom-right", "centre"),
    "rotations": (PLAIN, "turned-90", "turned-180", "turned-270"),
}
_TURNS = {"turned-90": 1, "turned-180": 2, "turned-270": 3}
#: Of the free space above and left of a crop, as shares.
_CROPS = {"top-left": (0, 0), "top-right": (0, 1), "bottom-left": (1, 0), "bottom-right": (1, 1), "centre": (0.5, 0.5)}
#: An altered copy is named by this (the revision of how copies are altered), its random state and its number.
_ALTERED = "augment-1"

Pixels = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class ViewSet:
    """The views of every image that one recipe is about.

    Attributes
    ----------
    names : tuple of str
        ``""`` is the image as it is without views.
    size : tuple of (int, int)
        Height and width of a view.
    is_averaged : bool
        The row of an image is the mean of its views' rows; otherwise it has one row for each.

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
        names = tuple(recipe.tta.split(JOINT))
        return cls(names, recipe.image_size, is_averaged=not recipe.tta.startswith(_ALTERED))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Height and width that an image is decoded to: 8/7 of the size where views are cut out of it."""
        if set(self.names) <= {PLAIN, "mirrored", *_TURNS}:
            return self.size
        return (-(-self.size[0] * 8 // 7), -(-self.size[1] * 8 // 7))

    def show(self, pixels: Pixels, digests: DigestArray, wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> Pixels:
        """Return the wanted views of images, the first view of all images first.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, *decoded_size, 3)
        digests : ndarray of uint8, shape (n, 16)
            What chance goes by, where views are altered at random.
        wanted : ndarray of bool, shape (n_views, n)

        Returns
        -------
        ndarray of uint8, shape (wanted.sum(), *size, 3)
        """
        if self.names == (PLAIN,):
            return pixels if wanted.all() else pixels[wanted[0]]
        parts: list[Pixels] = []
        for name, chosen in zip(self.names, wanted, strict=True):
            if chosen.any():
                parts.append(self._view(name, pixels[chosen], digests[chosen]))
        return np.concatenate(parts)

    def _view(self, name: str, pixels: Pixels, digests: DigestArray) -> Pixels:
        if name == PLAIN:
            return pixels
        if name == "mirrored":
            return pixels[:, :, ::-1]
        if name in _TURNS:
            return np.rot90(pixels, _TURNS[name], axes=(1, 2))
        if name in _CROPS:
            (height, width), (down, right) = self.size, _CROPS[name]
            top, left = int(down * (pixels.shape[1] - height)), int(right * (pixels.shape[2] - width))
            return pixels[:, top : top + height, left : left + width]
        seed = [int(part) for part in name.removeprefix(f"{_ALTERED}-").split("-")]
        chances = [np.random.default_rng([*seed, int.from_bytes(digest.tobytes())]) for digest in digests]
        return np.stack([augment(one, self.size, chance) for one, chance in zip(pixels, chances, strict=True)])

    def combined(self, rows: Iterable[FloatArray]) -> FloatArray:
        """Return what becomes of the rows of each view, given in their order.

        Parameters
        ----------
        rows : iterable of ndarray of float32, shape (n, n_features)

        Returns
        -------
        ndarray of float32, shape (n, n_features), or (n, n_views, n_features) if they are not averaged
        """
        if not self.is_averaged:
            return np.stack(list(rows), axis=1)
        total, *others = rows  # summed in this order, so that a mean is the same whichever rows were stored
        for other in others:
            total = total + other
        return total if len(self) == 1 else total / np.float32(len(self))


def augmented_views(n: int, random_state: int) -> str:
    """Return what a recipe calls so many altered copies of an image."""
    return JOINT.join(f"{_ALTERED}-{random_state}-{number}" for number in range(1, n + 1))


def check_tta(views: Any, size: tuple[int, int]) -> None:
    """Raise if images of this size do not have the views that were asked for.

    Raises
    ------
    OptionError
        There are none of that name; or an image would have to be square to be turned.
    """
    if not isinstance(views, str) or views not in VIEWS:
        hint = did_you_mean(str(views), VIEWS)
        raise OptionError(f"tta={views!r}: expected None or one of {', '.join(map(repr, VIEWS))}.{hint}")
    if views == "rotations" and size[0] != size[1]:
        raise OptionError(
            f"tta='rotations': images of {size[0]} × {size[1]} pixels cannot be turned by 90 degrees. Pass a square "
            "image_size, such as image_size=224 (--image-size 224), or tta='flip'."
        )
