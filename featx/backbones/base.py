"""Base classes of all backbones."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones.layers import LayerInfo
from featx.errors import OptionError
from featx.recipe import Recipe
from featx.system.array_types import AnyArray
from featx.system.formatting import first_line
from featx.system.notebook.cards import Record
from featx.system.option_checks import is_integer

#: Number of images in one run of a compiled network. It is constant and the last batch is padded, so that a row
#: depends on its own image alone. Measured from 1 to 32: 8 is as fast as any, and small enough for a single image.
COMPILED_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Weights(Record):
    """Weights that are available on this machine.

    Attributes
    ----------
    digest : str
        SHA-256 of the file in hexadecimal, or the version of a backbone without weights.
    path : Path or None
        Path of the file; None if there is no file.

    See Also
    --------
    load_backbone : Load a backbone; its method ``find_weights`` returns them.

    Examples
    --------
    >>> from featx import load_backbone
    >>> weights = load_backbone("mobilenet").find_weights("imagenet")
    >>> weights.digest[:8], weights.path.name
    ('9c4fd7b4', 'mobilenet_1_0_224_tf_no_top.weights.h5')
    """

    digest: str
    path: Path | None


class Backbone(abc.ABC):
    """Frozen function from pixels to features: the base class of all backbones.

    Attributes
    ----------
    name : str
        Name by which users select the backbone.
    image_size : int
        Default height and width of the input, in pixels.
    min_image_size : int
        Smallest height and width that the backbone accepts, in pixels.
    layer : str
        Name of the layer whose output is used as features by default.

    See Also
    --------
    DirectBackbone : Base class for backbones in plain Python.
    KerasBackbone : Network of ``keras.applications``.
    load_backbone : Return the backbone of a name.

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
    #: How images are fitted to the input by default.
    resize: str = "squash"
    #: Scaling of pixels as a recipe records it. "": it is part of the network. None: the user states it.
    preprocessing_text: str | None = ""
    #: Whether the network is a custom model file.
    is_model_file: bool = False

    @property
    def recipe_name(self) -> str:
        """Name of the backbone in a recipe."""
        return self.name

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the backbone accepts; None if it accepts several."""
        return None

    @property
    def registration_problem(self) -> str:
        """Reason why the backbone cannot be registered, with a remedy; empty if it can."""
        return ""

    @property
    def has_text(self) -> bool:
        """Whether texts have rows that are comparable with those of images."""
        return False

    @abc.abstractmethod
    def n_features(self, pooling: str) -> int:
        """Return the number of features in a row of the default layer.

        Parameters
        ----------
        pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
            How the positions of a feature map are pooled.

        Returns
        -------
        int
            Number of features.
        """

    def resolve_pooling(self, pooling: str, layers: Sequence[LayerInfo] = ()) -> str:
        """Return the pooling that a recipe records.

        Parameters
        ----------
        pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
            Requested pooling.
        layers : sequence of LayerInfo, default=()
            Selected layers; none for the default layer.

        Returns
        -------
        {"native", "avg", "max", "avgmax", "cls", "none"}
            "native" only if no other pooling gives the same rows. Always the same pooling if rows do not depend on it.

        Raises
        ------
        OptionError
            If the network has no class token.
        """
        if pooling == "cls":
            raise OptionError(
                f"pooling (--pooling) cannot be 'cls' for {self.name!r}, which has no class token. Pass 'native' or "
                "'avg'."
            )
        return "avg" if pooling == "native" else pooling

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers that features can be extracted from.

        Parameters
        ----------
        image_size : tuple of (int, int) or None, default=None
            Height and width for which output shapes are returned. None: the default size.

        Returns
        -------
        tuple of LayerInfo
            Layers in the order of the network; empty for a backbone in plain Python.
        """
        return ()

    @abc.abstractmethod
    def find_weights(self, weights: str) -> Weights:
        """Return the requested weights, and download them if necessary.

        Parameters
        ----------
        weights : str
            ``"imagenet"``, or the path of a file.

        Returns
        -------
        Weights
            Digest and path of the weights.

        Raises
        ------
        WeightsError
            If the weights are unavailable (:class:`featx.errors.WeightsNotFoundError`), corrupt, or those of another
            network.
        """


class NetworkBackbone(Backbone):
    """Backbone that an engine runs: a graph from pixels to feature maps."""

    @abc.abstractmethod
    def layers_to_compile(self, layers: Sequence[str]) -> list[str]:
        """Return the layers to compile together when a recipe uses these layers.

        Parameters
        ----------
        layers : sequence of str
            Names of the layers of a recipe.

        Returns
        -------
        list of str
            Names of the layers to compile.
        """

    @abc.abstractmethod
    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to build the network, as plain JSON types."""

    @abc.abstractmethod
    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return a ``keras.Model`` from uint8 pixels to the features of a recipe."""


class DirectBackbone(Backbone):
    """Backbone in plain Python: it runs itself, without an engine and without weights.

    Subclasses set the attributes and implement :meth:`n_features` and :meth:`extract`. One whose rows are comparable
    with texts also defines ``extract_texts``: it takes a list of str and returns an ndarray of float32 of shape
    (n_texts, n_features).

    Attributes
    ----------
    name : str
        Name by which users select the backbone.
    version : int or str
        Version of `extract`, part of the recipe. Change it whenever `extract` returns other values; otherwise cached
        rows of the old version are used.
    image_size : int
        Default height and width of the input, in pixels.
    min_image_size : int
        Smallest height and width that the backbone accepts, in pixels.

    See Also
    --------
    KerasBackbone : Network of ``keras.applications``.
    register_backbone : Register a backbone under its name.

    Examples
    --------
    >>> import numpy as np
    >>> class MeanColor(DirectBackbone):
    ...     name, version, image_size = "mean_color", 1, 32
    ...     def n_features(self, pooling): return 3
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2), dtype="float32")
    >>> MeanColor().extract(np.zeros((2, 32, 32, 3), "uint8")).shape
    (2, 3)
    """

    version: int | str

    @property
    def has_text(self) -> bool:
        """Whether the backbone defines ``extract_texts``."""
        return callable(getattr(self, "extract_texts", None))

    @property
    def registration_problem(self) -> str:
        """Reason why the backbone cannot be registered, with a remedy; empty if it can."""
        kind = type(self).__name__
        if not hasattr(self, "version"):
            return (
                f"{kind} has no version. Set the class attribute version = 1, and increase it whenever extract changes."
            )
        for name, example in (("image_size", 224), ("min_image_size", 1)):
            if not is_integer(getattr(self, name, None), 1):
                got = repr(getattr(self, name)) if hasattr(self, name) else "none"
                return f"{name} of {kind} must be an integer of at least 1, got {got}. Set {name} = {example}."
        for name, parameter in (("n_features", "pooling"), ("extract", "pixels")):
            if not callable(getattr(self, name)):
                return (
                    f"{name} of {kind} must be a method, got {getattr(self, name)!r}. Define it: "
                    f"def {name}(self, {parameter})."
                )
        try:
            n_features = self.n_features("avg")
        except Exception as error:  # code of a user or of another package raises anything
            return f"n_features of {kind} raised {type(error).__name__}: {first_line(error)}. Fix it."
        if not is_integer(n_features, 1):
            return (
                f"n_features of {kind} must return an integer of at least 1, got {n_features!r}. Return the length of "
                "a feature row."
            )
        return ""

    @abc.abstractmethod
    def extract(self, pixels: AnyArray) -> AnyArray:
        """Return the features of images. Each row must depend on its own image alone.

        Parameters
        ----------
        pixels : ndarray of shape (n_samples, height, width, 3)
            Images of dtype uint8.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Features of dtype float32.
        """

    def find_weights(self, weights: str) -> Weights:
        """Return the version of the backbone as the digest of its weights.

        Parameters
        ----------
        weights : str
            Must be ``"imagenet"``, the default.

        Returns
        -------
        Weights
            The version as digest, without a path.

        Raises
        ------
        OptionError
            If other weights are requested.
        """
        if weights != "imagenet":
            raise OptionError(
                f"weights (--weights) cannot be set for {self.name!r}, got {None if weights == 'none' else weights!r}: "
                "the backbone is plain Python and has no weights. Remove the option."
            )
        return Weights(f"version {self.version}", None)
