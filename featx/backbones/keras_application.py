"""Networks of keras.applications: how each is built, and how it wants its pixels."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import random
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones import weights as weight_files
from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.keras_import import first_line, import_keras, plain_settings
from featx.backbones.layers import (
    POOLS,
    LayerInfo,
    as_layers,
    find_layers,
    layers_path,
    missing_layer_message,
    pooled_output_name,
    read_layers,
)
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, WeightsError
from featx.recipe import Recipe
from featx.system.child_process import run_child

_BUNDLED = Path(__file__).parent / "data" / "weights"
_SEED = 0
#: Standard deviations of red, green and blue among ImageNet's images, as shares of 255.
_DEVIATIONS = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasBackbone(NetworkBackbone):
    """A network of ``keras.applications`` without its head.

    Its pixels are prepared by the ``preprocess_input`` of its own module, inside the graph.

    Attributes
    ----------
    application : str
        Module and function below ``keras.applications``: ``"resnet.ResNet50"``.
    channels : int
        Channels of the last convolutional output: the length of a row.
    weights_url : str
        Where Keras keeps the ImageNet weights without head.
    weights_hash : str
        MD5 or SHA-256 in hex that Keras expects of that file, or "" where it names none.
    bundled : str
        File name of weights that come with featx, or "".
    bundled_digest : str
        SHA-256 of that file, in hex.
    alpha : float
        Width of a MobileNet, as a share of that of its paper.
    pools_before_norm : bool
        Whether the last layer normalises what has been pooled, and so comes after the pooling, as in ConvNeXt.
    n_parameters : int
        Numbers that were learned, without the head; 0 if that is not known.
    top_1 : float or None
        Percent of ImageNet's validation images whose first guess is right, by Keras's documentation.

    Examples
    --------
    >>> KerasBackbone(
    ...     name="mobilenet_large", application="mobilenet.MobileNet", layer="conv_pw_13_relu", channels=1024,
    ...     weights_url="https://example.org/mobilenet.weights.h5", image_size=320,
    ... ).n_features("avg")
    1024
    """

    name: str
    application: str
    layer: str
    channels: int
    weights_url: str
    image_size: int = 224
    min_image_size: int = 32
    weights_hash: str = ""
    bundled: str = ""
    bundled_digest: str = ""
    alpha: float = 1.0
    pools_before_norm: bool = False
    n_parameters: int = 0
    top_1: float | None = None

    @property
    def recipe_name(self) -> str:
        """What a recipe calls it: its name; with all that decides a row, if somebody else gave it that name."""
        from featx.backbones.builtin_networks import known_networks  # it is made of these

        if _decisive(self) in map(_decisive, known_networks()):
            return self.name
        pooled_first = " normalizes pooled" if self.pools_before_norm else ""
        return f"{self.name} ({self.application} {self.alpha:g}{pooled_first})"

    def n_features(self, pooling: str) -> int:
        """Return the length of a row of the default layer, at the default size."""
        if pooling == "none":
            return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)
        return self.channels * (2 if pooling == "avgmax" else 1)

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers, in Keras's order; no weights are needed.

        Parameters
        ----------
        image_size : (int, int) or None, default=None
            For which the shapes are; None is the default size.
        """
        default = (self.image_size, self.image_size)
        known = self._known_layers() if image_size in (None, default) else None
        return _described(self, image_size or default) if known is None else known

    def _known_layers(self) -> tuple[LayerInfo, ...] | None:
        return read_layers(layers_path(self.application, self.alpha))

    def find_weights(self, weights: str) -> Weights:
        """Return the weights: bundled, random, from a file, from an address, or Keras's own.

        Parameters
        ----------
        weights : str
            ``"imagenet"``; ``"none"`` for random ones; an address that ends in ``#sha256=…``; or the path of a
            weights file of this network without head.

        Raises
        ------
        WeightsNotFoundError
            No such file, or not to be had from the network either.
        WeightsError
            They are altered or damaged, or their address says no digest.
        """
        if weights == weight_files.RANDOM:
            return weight_files.random_weights()
        if weight_files.is_url(weights):
            return weight_files.fetched_from_url(weights, self.name)
        if weights != "imagenet":
            return weight_files.weights_in_file(Path(weights).expanduser(), self.name)
        if self.bundled and (_BUNDLED / self.bundled).is_file():
            return Weights(self.bundled_digest, _BUNDLED / self.bundled)
        return weight_files.fetched_from_keras(self.weights_url, self.weights_hash, self.name)

    @property
    def n_bytes(self) -> int:
        """Size of the ImageNet weights on disk: 4 bytes for each parameter, but for the file's own structure."""
        return 4 * self.n_parameters

    @property
    def has_local_weights(self) -> bool:
        """Whether the ImageNet weights are on this machine."""
        return bool(self.bundled) or weight_files.path_of_keras(self.weights_url).is_file()

    def layers_to_compile(self, wanted: Sequence[str]) -> list[str]:
        """Return the layers that are compiled together so that one compilation serves many recipes.

        Parameters
        ----------
        wanted : sequence of str
            Those that a recipe takes. If each of them ends a block, all that do are compiled.
        """
        known = self._known_layers() or ()
        ends = [layer.name for layer in known if layer.ends_block or layer.name == self.layer]
        return ends if set(wanted) <= set(ends) else list(wanted)

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to know of it."""
        return {"backbone": dataclasses.asdict(self)}

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Parameters
        ----------
        recipe : Recipe
            Gives size, layer and pooling, and the digest that the weights must have.
        weights_path : Path or None
            The file to read the weights from; None for random ones.

        Raises
        ------
        WeightsError
            The file is altered, or holds the weights of another network.
        EngineError
            This version of Keras builds the network of other layers.
        """
        with plain_settings(import_keras()) as keras:
            pixels, outputs = self._taken(keras, recipe, weights_path, recipe.layers)
            for name in recipe.layers:
                if name not in outputs:
                    raise EngineError(missing_layer_message(name))
            return keras.Model(pixels, pooled(keras, recipe, outputs))

    def build_layers(self, recipe: Recipe, weights_path: Path | None, names: Sequence[str]) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the outputs of layers, by name.

        Of a layer that comes after the pooling, there is one for each kind of pooling, too. Layers that this version
        of Keras has not are left out.

        Parameters
        ----------
        recipe : Recipe
            Gives the size, and the digest that the weights must have.
        weights_path : Path or None
        names : sequence of str

        Raises
        ------
        WeightsError
            The file is altered, or holds the weights of another network.
        """
        with plain_settings(import_keras()) as keras:
            return keras.Model(*self._taken(keras, recipe, weights_path, names))

    def _taken(
        self, keras: Any, recipe: Recipe, weights_path: Path | None, names: Sequence[str]
    ) -> tuple[Any, dict[str, Any]]:
        """Return the input for uint8 pixels, and the outputs of layers by name."""
        network = self._load(recipe, weights_path)
        pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
        prepared = self._module().preprocess_input(keras.ops.cast(pixels, "float32"))
        outputs = keras.Model(network.input, self._outputs(keras, network, names))(prepared, training=False)
        return pixels, dict(outputs)

    def load_truncated(self, recipe: Recipe, weights_path: Path | None) -> tuple[Any, Any]:
        """Return the frozen network, and the part of it from prepared pixels to the layers of a recipe, by name."""
        keras = import_keras()
        network = self._load(recipe, weights_path)
        return network, keras.Model(network.input, self._outputs(keras, network, recipe.layers))

    def preprocessing(self) -> Preprocessing:
        """Return what its ``preprocess_input`` does to pixels, as it shows on black, red, green and blue."""
        import_keras()
        probes = np.zeros((1, 1, 4, 3), np.float32)
        probes[0, 0, 1:] = 255 * np.eye(3)
        prepared = np.asarray(self._module().preprocess_input(probes))[0, 0]
        slopes = (prepared[1:] - prepared[0]) / 255
        scale = 1 / slopes.sum(axis=0).astype(np.float64)
        return Preprocessing(tuple(-prepared[0] * scale), tuple(scale), is_bgr=bool(abs(slopes[0, 2]) > 0))

    def _outputs(self, keras: Any, network: Any, names: Sequence[str]) -> dict[str, Any]:
        """Return the outputs of those of the layers that this network has."""
        last = network.layers[-1]
        found = {}
        for name in names:
            output = network.output if name == self.layer and self._is_last(network) else self._output_of(network, name)
            if output is not None:
                found[name] = output
        if self.pools_before_norm and self.layer in found:
            for pool in POOLS:
                found[pooled_output_name(self.layer, pool)] = last(_pool(keras, pool)(last.input))
        return found

    def _is_last(self, network: Any) -> bool:
        known = self._known_layers()
        if known is not None:
            return known[-1].name == self.layer
        return self.layer not in {layer.name for layer in network.layers}

    def _output_of(self, network: Any, name: str) -> Any:
        """Return the output of a layer; None if this version of Keras has another in its place."""
        if self._known_layers() is None and (named := [one for one in network.layers if one.name == name]):
            return named[0].output
        # By place: Keras numbers the names of some layers by what else was built in the process.
        layers = self.layers()
        (wanted,) = find_layers(self.name, layers, [name])
        place = layers.index(wanted)
        layer: Any = network.layers[place] if place < len(network.layers) else None
        if type(layer).__name__ != wanted.kind or layer.output.shape[-1] != wanted.shape[-1]:
            return None
        return layer.output

    def build_reference(self, recipe: Recipe, weights_path: Path | None) -> tuple[Any, Any]:
        """Return the network as people use it: a ``keras.Model`` of prepared pixels, and ``preprocess_input``."""
        with plain_settings(import_keras()) as keras:
            network = self._load(recipe, weights_path)
            outputs = {self.layer: network.output}
            usual = dataclasses.replace(recipe, layer=self.layer)
            return keras.Model(network.input, pooled(keras, usual, outputs)), self._module().preprocess_input

    def _load(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the frozen network with its weights."""
        if weights_path is not None:
            self._check_weights(recipe, weights_path)
        elif (backend := import_keras().backend.backend()) != "tensorflow":
            raise EngineError(
                f"Random weights are drawn by tensorflow, and differ with KERAS_BACKEND={backend!r}. Unset it, or pass "
                "engine='openvino' (--engine openvino)."
            )
        network = self.build_empty(recipe.image_size)
        try:
            if weights_path is not None:
                network.load_weights(weights_path)
                self._scale_stem(network, weights_path)
        except Exception as error:  # Keras and h5py raise many kinds for a file of the wrong shape
            raise WeightsError(
                f"The weights {str(weights_path)!r} do not fit {self.name!r} without its head "
                f"({first_line(error)}). Pass a file saved from this network with include_top=False."
            ) from error
        network.trainable = False
        return network

    def _scale_stem(self, network: Any, path: Path) -> None:
        """Divide by the root of ImageNet's deviations what EfficientNet's ImageNet weights want divided so.

        Keras has a layer for it in networks that it builds with those weights, and in no other; see
        https://github.com/tensorflow/tensorflow/issues/49930.
        """
        if self.application.startswith("efficientnet.") and weight_files.is_of_keras(path, self.weights_hash):
            stem = network.get_layer("stem_conv")
            stem.set_weights([value / np.sqrt(_DEVIATIONS)[:, None] for value in stem.get_weights()])

    def build_empty(self, image_size: tuple[int, int]) -> Any:
        """Return the network as a ``keras.Model`` without its head, with random weights, each time the same."""
        keras = import_keras()
        build = getattr(keras.applications, self.application.split(".")[1])
        width = {"alpha": self.alpha} if self.alpha != 1 else {}
        with warnings.catch_warnings(), plain_settings(keras), _seeded():
            # Of a size other than its own, Keras says which weights it will take: here it takes none.
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            return build(include_top=False, weights=None, input_shape=(*image_size, 3), **width)

    def _module(self) -> Any:
        return importlib.import_module(f"keras.applications.{self.application.split('.')[0]}")

    def _check_weights(self, recipe: Recipe, path: Path) -> None:
        found = weight_files.weights_in_file(path, self.name).digest
        if found != recipe.weights:
            raise WeightsError(
                f"The weights {str(path)!r} of {self.name!r} are altered or damaged: expected SHA-256 "
                f"{recipe.weights}, got {found}. Install featx again, or fetch the file again."
            )


def _decisive(backbone: KerasBackbone) -> tuple[Any, ...]:
    """Return what decides a row besides the weights and what a recipe says."""
    return backbone.name, backbone.application, backbone.alpha, backbone.pools_before_norm


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Let Keras draw the same weights each time; it takes the seeds of its initializers from Python's generator."""
    before = random.getstate()
    random.seed(_SEED)
    try:
        yield
    finally:
        random.setstate(before)


def _pool(keras: Any, pool: str) -> Any:
    return {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[pool]()


def pooled(keras: Any, recipe: Recipe, outputs: Mapping[str, Any]) -> Any:
    """Return one row of features from the outputs of one layer or several."""
    parts = []
    for name in recipe.layers:
        maps = outputs[name]
        if recipe.pooling == "none" or len(maps.shape) != 4:
            parts.append(keras.layers.Flatten()(maps))
            continue
        for pool in POOLS:
            if pool in recipe.pooling:
                after = outputs.get(pooled_output_name(name, pool))
                parts.append(_pool(keras, pool)(maps) if after is None else after)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


@functools.lru_cache(maxsize=16)
def _described(backbone: KerasBackbone, image_size: tuple[int, int]) -> tuple[LayerInfo, ...]:
    """Return the layers of a network at a size, which a child process builds for that: seconds."""
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        file = Path(folder) / "layers.json"
        task = {"backbone": dataclasses.asdict(backbone), "image_size": list(image_size), "file": str(file)}
        remedy = "Install tensorflow anew: pip install --force-reinstall tensorflow."
        run_child(
            "featx.backbones.workers.describe_application", task, f"describing the layers of {backbone.name!r}", remedy
        )
        return as_layers(json.loads(file.read_text(encoding="utf-8")))
