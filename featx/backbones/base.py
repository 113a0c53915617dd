"""What every backbone says of itself, and the kind that needs no network."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.layers import LayerInfo
from featx.errors import OptionError
from featx.recipe import Recipe

#: Images in one run of the network. Constant, and the last run is padded, so that a row depends on
#: its own image alone; 8 is as fast as any (measured 1 to 32), and small enough for a single image.
COMPILED_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights that were found: what names them, and where they are.

    Attributes
    ----------
    digest : str
        SHA-256 in hex; the version of a backbone without weights.
    path : Path or None
        The file to read them from.
    """

    digest: str
    path: Path | None


class Backbone(abc.ABC):
    """A frozen function from pixels to features.

    Attributes
    ----------
    name : str
        What users write.
    image_size : int
        Default height and width, in pixels.
    min_image_size : int
        Smallest height and width that it can take, in pixels.
    layer : str
        Name of the layer whose output becomes the features.

    Examples
    --------
    >>> from featx import load_backbone
    >>> backbone = load_backbone("mobilenet")
    >>> backbone.image_size, backbone.layer, backbone.n_features("avg")
    (224, 'conv_pw_13_relu', 1024)
    """

    name: str
    image_size: int
    min_image_size: int = 1
    layer: str = "output"
    #: Whether it comes from a file of the user's, who says how it wants its pixels.
    is_model_file: bool = False

    @property
    def recipe_name(self) -> str:
        """What a recipe calls it."""
        return self.name

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only height and width that it takes; None if it takes others, too."""
        return None

    @abc.abstractmethod
    def n_features(self, pooling: str) -> int:
        """Return the length of a row.

        Parameters
        ----------
        pooling : {"avg", "max", "avgmax", "none"}

        Returns
        -------
        int
        """

    def resolve_pooling(self, pooling: str) -> str:
        """Return the pooling that a recipe records: the default where there is nothing to pool, whatever was asked."""
        return pooling

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers that features can be taken from; none but the default where it is plain Python."""
        return ()

    @abc.abstractmethod
    def find_weights(self, weights: str) -> Weights:
        """Return the weights that a user asked for, fetching them if need be.

        Parameters
        ----------
        weights : str
            ``"imagenet"``, or the path of a file.

        Returns
        -------
        Weights

        Raises
        ------
        WeightsError
            They are nowhere to be had (:class:`WeightsNotFoundError`), damaged, or another network's.
        """


class NetworkBackbone(Backbone):
    """A backbone that an engine runs: a graph from pixels to maps."""

    @abc.abstractmethod
    def layers_to_compile(self, wanted: Sequence[str]) -> list[str]:
        """Return the layers that are compiled together with those that are wanted."""

    @abc.abstractmethod
    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to know of it, as plain JSON types."""

    @abc.abstractmethod
    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the network as a ``keras.Model`` from uint8 pixels to the features of a recipe."""


class DirectBackbone(Backbone):
    """A backbone that is plain Python: it runs itself, without engine or weights.

    Attributes
    ----------
    version : int or str
        Part of the recipe: change it whenever `extract` changes, or old rows are taken for new ones.

    Examples
    --------
    >>> class MeanColor(DirectBackbone):
    ...     name, version, image_size = "mean_color", 1, 32
    ...     def n_features(self, pooling): return 3
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2), dtype="float32")
    >>> MeanColor().extract(np.zeros((2, 32, 32, 3), "uint8")).shape
    (2, 3)
    """

    version: int | str

    @abc.abstractmethod
    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the features of images. A row must depend on its own image alone.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, height, width, 3)

        Returns
        -------
        ndarray of float32, shape (n, n_features)
        """

    def find_weights(self, weights: str) -> Weights:
        """Return the version in the place of weights: there are none.

        Raises
        ------
        OptionError
            Some are asked for.
        """
        if weights != "imagenet":
            raise OptionError(
                f"weights={None if weights == 'none' else weights!r} of {self.name!r} cannot be used: it is plain "
                "Python and has none. Leave weights out."
            )
        return Weights(f"version {self.version}", None)
