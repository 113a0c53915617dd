"""KerasBackbone: one network of ``keras.applications`` as a backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones import weights as weights_module
from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.keras import builder
from featx.backbones.keras.describe import describe_layers, known_layers
from featx.backbones.layers import LayerInfo, find_layers
from featx.backbones.records import BUNDLED_WEIGHTS_FOLDER, KerasRecord, read_records
from featx.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasBackbone(KerasRecord, NetworkBackbone):
    """Network of ``keras.applications`` without its head.

    Pixels are preprocessed by the ``preprocess_input`` of the network's own module, inside the graph.

    Parameters
    ----------
    name : str
        Name by which users select the backbone.
    application : str
        Module and function below ``keras.applications``, such as ``"resnet.ResNet50"``.
    layer : str
        Name of the layer whose output is used as features by default.
    n_channels : int
        Number of channels of the output of that layer.
    weights_url : str
        Address from which Keras downloads the ImageNet weights without the head.
    image_size : int, default=224
        Default height and width of the input, in pixels.
    min_image_size : int, default=32
        Smallest height and width that the network accepts, in pixels.
    weights_hash : str, default=""
        MD5 or SHA-256 in hexadecimal that Keras publishes for that file, if any.
    bundled_file : str, default=""
        Name of the weights file that is distributed with featx, if any.
    bundled_sha256 : str, default=""
        SHA-256 of that file in hexadecimal.
    alpha : float, default=1.0
        Width multiplier of a MobileNet.
    pools_before_norm : bool, default=False
        Whether the last layer normalizes pooled features, as in ConvNeXt, instead of feature maps.
    n_parameters : int, default=0
        Number of parameters without the head; 0 if unknown.
    family : str, default=""
        Name of the architecture.
    license : str, default=""
        SPDX identifier of the license of the ImageNet weights, as far as it is known.
    origin_url : str, default=""
        Address of the project that published the weights.
    paper : str, default=""
        Address of the paper.
    pretraining_data : str, default=""
        Data on which the network was trained.
    preprocessing : str, default=""
        Name of the pixel scaling of ``preprocess_input``, for information: ``"tf"``, ``"torch"``, ``"caffe"``, or
        ``"none"`` if the network scales pixels itself.

    See Also
    --------
    DirectBackbone : Base class for backbones in plain Python.
    register_backbone : Register a backbone under its name.

    Examples
    --------
    >>> KerasBackbone(
    ...     name="mobilenet_large", application="mobilenet.MobileNet", layer="conv_pw_13_relu", n_channels=1024,
    ...     weights_url="https://example.org/mobilenet.weights.h5", image_size=320,
    ... ).n_features("avg")
    1024
    """

    @property
    def recipe_name(self) -> str:
        """Name in recipes; differs from `name` if a user registered a backbone under the same name."""
        if self.identity in {record.identity for record in read_records()}:
            return self.name
        norm = " pools before norm" if self.pools_before_norm else ""
        return f"{self.name} ({self.application} {self.alpha:g}{norm})"

    @property
    def registration_problem(self) -> str:
        """Reason why the backbone cannot be registered, with a remedy; empty if it can."""
        if type(self) is KerasBackbone:
            return ""
        return (
            f"{type(self).__name__} is a subclass of KerasBackbone, which the child process that converts the network "
            "does not know. Use KerasBackbone itself, or subclass DirectBackbone."
        )

    def n_features(self, pooling: str) -> int:
        """Return the number of features in a row of the default layer at the default image size.

        Parameters
        ----------
        pooling : {"avg", "max", "avgmax", "none"}
            How the positions of a feature map are pooled.

        Returns
        -------
        int
            Number of features.
        """
        if pooling == "none":
            return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)
        return self.n_channels * (2 if pooling == "avgmax" else 1)

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers in the order of Keras; no weights are needed.

        Parameters
        ----------
        image_size : tuple of (int, int) or None, default=None
            Height and width for which output shapes are returned. None: the default size.

        Returns
        -------
        tuple of LayerInfo
            All layers, the input first.
        """
        default = (self.image_size, self.image_size)
        known = known_layers(self) if image_size in (None, default) else None
        return describe_layers(self, image_size or default) if known is None else known

    def find_weights(self, weights: str) -> Weights:
        """Return the requested weights, and download them if necessary.

        Parameters
        ----------
        weights : str
            ``"imagenet"``; ``"none"`` for random weights; a URL that ends in ``#sha256=…``; or the path of a weights
            file of this network without its head.

        Returns
        -------
        Weights
            Digest and path of the weights.

        Raises
        ------
        WeightsNotFoundError
            If the file does not exist or cannot be downloaded.
        WeightsError
            If the file is corrupt, or the URL has no digest.
        """
        if weights == weights_module.RANDOM:
            return weights_module.random_weights()
        if weights_module.is_url(weights):
            return weights_module.weights_from_url(weights, self.name)
        if weights != "imagenet":
            return weights_module.local_weights(Path(weights).expanduser(), self.name)
        if self.bundled_file and (path := BUNDLED_WEIGHTS_FOLDER / self.bundled_file).is_file():
            return Weights(self.bundled_sha256, path)
        return weights_module.imagenet_weights(self.weights_url, self.weights_hash, self.name)

    @property
    def n_bytes(self) -> int:
        """Approximate size of the ImageNet weights: 4 bytes for each parameter."""
        return 4 * self.n_parameters

    @property
    def has_local_weights(self) -> bool:
        """Whether the ImageNet weights are on this machine."""
        return bool(self.bundled_file) or weights_module.keras_cache_path(self.weights_url).is_file()

    def layers_to_compile(self, layers: Sequence[str]) -> list[str]:
        """Return the layers to compile together, so that one compilation serves many recipes.

        Parameters
        ----------
        layers : sequence of str
            Names of the layers of a recipe.

        Returns
        -------
        list of str
            Names of all layers that end a block if each of `layers` does; otherwise `layers`.
        """
        known = known_layers(self) or ()
        block_ends = [layer.name for layer in known if layer.ends_block or layer.name == self.layer]
        return block_ends if set(layers) <= set(block_ends) else list(layers)

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to build the network, as plain JSON types."""
        return {"backbone": dataclasses.asdict(self)}

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Parameters
        ----------
        recipe : Recipe
            Image size, layers and pooling, and the digest of the weights.
        weights_path : Path or None
            Path of the weights; None for random weights.

        Returns
        -------
        keras.Model
            Frozen network.

        Raises
        ------
        WeightsError
            If the file is corrupt or belongs to another network.
        EngineError
            If the installed Keras builds the network with other layers.
        """
        return builder.build_features(self, recipe, weights_path)
