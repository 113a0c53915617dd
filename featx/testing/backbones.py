"""Backbones for tests: one that is fast and counts its images, and registration for the length of a block."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from featx.backbones.base import Backbone, DirectBackbone
from featx.backbones.registry import available_backbones, register_backbone, registered_backbone, unregister_backbone

AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)


class CountingBackbone(DirectBackbone):
    """Backbone that computes the mean color of each image quarter and counts the images it receives.

    It needs no network and takes microseconds per image. Tests use it to show which images were extracted and which
    came from the cache.

    Attributes
    ----------
    n_images : int
        Number of images that :meth:`extract` has received.

    See Also
    --------
    registered : Register a backbone for the duration of a block.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor
    >>> from featx.testing import CountingBackbone, registered
    >>> image = np.zeros((40, 40, 3), dtype=np.uint8)
    >>> with registered(CountingBackbone()) as backbone:
    ...     rows = FeatureExtractor("counting", cache=None).fit_transform([image])
    >>> rows.shape, backbone.n_images
    ((1, 12), 1)
    """

    name = "counting"
    version = 1
    image_size = 32
    min_image_size = 2

    def __init__(self) -> None:
        self.n_images = 0

    def n_features(self, pooling: str) -> int:
        """Return the length of a feature row: three colors of four quarters.

        Parameters
        ----------
        pooling : str
            Ignored.

        Returns
        -------
        int
            12.
        """
        return 12

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the mean color of the quarters of each image.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (n_images, height, width, 3)
            Images of at least 2 × 2 pixels.

        Returns
        -------
        ndarray of float32 of shape (n_images, 12)
            Upper left, upper right, lower left and lower right quarter, each as red, green and blue.
        """
        self.n_images += len(pixels)
        n, height, width, _ = pixels.shape
        quarters = pixels[:, : height // 2 * 2, : width // 2 * 2].reshape(n, 2, height // 2, 2, width // 2, 3)
        rows: np.ndarray[Any, Any] = quarters.mean(axis=(2, 4), dtype=np.float32).reshape(n, 12)
        return rows


@typing.overload
def registered() -> contextlib.AbstractContextManager[tuple[()]]: ...
@typing.overload
def registered(backbone: AnyBackbone, /) -> contextlib.AbstractContextManager[AnyBackbone]: ...
@typing.overload
def registered(
    first: Backbone, second: Backbone, /, *others: Backbone
) -> contextlib.AbstractContextManager[tuple[Backbone, ...]]: ...
@contextlib.contextmanager
def registered(*backbones: Backbone) -> Iterator[Any]:
    """Register backbones for the duration of a ``with`` block.

    Backbones that are registered inside the block by other means are removed at its end, too.

    Parameters
    ----------
    *backbones : Backbone
        Backbones to register. Their names must be free.

    Yields
    ------
    Backbone or tuple of Backbone
        The backbone, if there is exactly one; otherwise all of them.

    Raises
    ------
    OptionError
        If a name is in use, or a backbone cannot be registered.

    See Also
    --------
    featx.register_backbone : Register a backbone until the process ends.

    Examples
    --------
    >>> import featx
    >>> from featx.testing import CountingBackbone, registered
    >>> with registered(CountingBackbone()):
    ...     "counting" in featx.available_backbones()
    True
    >>> "counting" in featx.available_backbones()
    False

    Several backbones, and those that the code under test registers itself:

    >>> class OtherBackbone(CountingBackbone):
    ...     name = "other"
    >>> with registered(CountingBackbone(), OtherBackbone()) as (first, second):
    ...     first.name, second.name
    ('counting', 'other')
    >>> with registered():
    ...     featx.register_backbone(CountingBackbone())
    >>> "counting" in featx.available_backbones()
    False
    """
    known = set(available_backbones())
    try:
        for backbone in backbones:
            register_backbone(backbone)
        yield backbones[0] if len(backbones) == 1 else backbones
    finally:
        for name in set(available_backbones()) - known:
            if registered_backbone(name) is not None:  # not those that a package declares
                unregister_backbone(name)
