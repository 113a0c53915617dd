"""Networks of keras.applications: their weights, and how each wants its pixels. The one home of Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from featx.backbones.base import Backbone, Weights
from featx.backbones.layers import LayerInfo, as_layers, find_layers, read_layers
from featx.children import run_child
from featx.errors import EngineError, WeightsError, WeightsNotFoundError
from featx.recipe import Recipe

_SERVER = "https://storage.googleapis.com/tensorflow/keras-applications"
_log = logging.getLogger("featx")
_BUNDLED = Path(__file__).parent / "weights"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasBackbone(Backbone):
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
    weights_md5 : str
        MD5 that Keras expects of that file, or "" where it names none.
    bundled : str
        File name of weights that come with featx, or "".
    bundled_digest : str
        SHA-256 of that file, in hex.
    """

    name: str
    application: str
    layer: str
    channels: int
    weights_url: str
    image_size: int = 224
    minimum_size: int = 32
    weights_md5: str = ""
    bundled: str = ""
    bundled_digest: str = ""

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
        known = read_layers(self.application) if image_size in (None, default) else None
        return _described(self, image_size or default) if known is None else known

    def find_weights(self, weights: str) -> Weights:
        """Return the weights: bundled, from a file, from Keras's cache folder or from its server.

        Parameters
        ----------
        weights : str
            ``"imagenet"``, or the path of a weights file of this network without head.

        Raises
        ------
        WeightsNotFoundError
            No such file, or not to be had from the network either.
        """
        if weights != "imagenet":
            return self._weights_file(Path(weights).expanduser())
        if self.bundled and (_BUNDLED / self.bundled).is_file():
            return Weights(self.bundled_digest, _BUNDLED / self.bundled)
        path = keras_home() / "models" / self.weights_url.rsplit("/", 1)[1]
        if not path.is_file():
            self._download(path)
        found = self._weights_file(path)
        if self.weights_md5 and _file_digests(path)["md5"] != self.weights_md5:
            raise WeightsError(
                f"The weights {str(path)!r} of {self.name!r} are altered or damaged: expected MD5 {self.weights_md5}, "
                f"got {_file_digests(path)['md5']}. Delete the file; it is then fetched again."
            )
        return found

    def _weights_file(self, path: Path) -> Weights:
        try:
            return Weights(_file_digests(path)["sha256"], path)
        except OSError as error:
            raise WeightsNotFoundError(
                f"Cannot read the weights {str(path)!r} for {self.name!r}: {error.strerror}. Pass 'imagenet', or "
                "the path of a .weights.h5 or .h5 file of this network without its head."
            ) from error

    def _download(self, path: Path) -> None:
        task = {"url": self.weights_url, "path": str(path), "md5": self.weights_md5}
        try:
            _log.info("Fetching the weights of %s from %s …", self.name, self.weights_url)
            remedy = "Install tensorflow anew: pip install --force-reinstall tensorflow."
            run_child("featx.backbones.downloading", task, f"fetching the weights of {self.name!r}", remedy)
        except WeightsNotFoundError as error:
            raise WeightsNotFoundError(
                f"The ImageNet weights of {self.name!r} are not on this machine, and fetching them failed ({error}). "
                f"Download {self.weights_url} elsewhere, and put it at {str(path)!r} or pass its path as weights; or "
                "use 'mobilenet', whose weights come with featx."
            ) from error

    def compiled_layers(self, wanted: Sequence[str]) -> list[str]:
        """Return the layers that are compiled together so that one compilation serves many recipes.

        Parameters
        ----------
        wanted : sequence of str
            Those that a recipe takes. If each of them ends a block, all that do are compiled.
        """
        known = read_layers(self.application) or ()
        ends = [layer.name for layer in known if layer.ends_block or layer.name == self.layer]
        return ends if set(wanted) <= set(ends) else list(wanted)

    def build(self, recipe: Recipe, weights_path: Path) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Parameters
        ----------
        recipe : Recipe
            Gives size, layer and pooling, and the digest that the weights must have.
        weights_path : Path
            The file to read the weights from.

        Raises
        ------
        WeightsError
            The file is altered, or holds the weights of another network.
        """
        with plain_settings(import_keras()) as keras:
            pixels, outputs = self._taken(keras, recipe, weights_path, recipe.layers)
            return keras.Model(pixels, _pooled(keras, recipe, outputs))

    def build_layers(self, recipe: Recipe, weights_path: Path, names: Sequence[str]) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the outputs of these layers, by name.

        Parameters
        ----------
        recipe : Recipe
            Gives the size, and the digest that the weights must have.
        weights_path : Path
        names : sequence of str

        Raises
        ------
        WeightsError
            The file is altered, or holds the weights of another network.
        """
        with plain_settings(import_keras()) as keras:
            pixels, outputs = self._taken(keras, recipe, weights_path, names)
            return keras.Model(pixels, dict(zip(names, outputs, strict=True)))

    def _taken(self, keras: Any, recipe: Recipe, weights_path: Path, names: Sequence[str]) -> tuple[Any, list[Any]]:
        """Return the input for uint8 pixels, and the outputs of layers."""
        network, module = self._load(recipe, weights_path)
        pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
        prepared = module.preprocess_input(keras.ops.cast(pixels, "float32"))
        outputs = keras.Model(network.input, self._outputs(network, names))(prepared, training=False)
        return pixels, list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    def _outputs(self, network: Any, names: Sequence[str]) -> list[Any]:
        """Return the outputs of layers of this network."""
        known = read_layers(self.application)
        if list(names) == [self.layer] and (known is None or known[-1].name == self.layer):
            named = [layer.output for layer in network.layers if layer.name == self.layer]
            return named or [network.output]
        # By place: Keras numbers the names of some layers by what else was built in the process.
        layers = self.layers()
        found = []
        for wanted in find_layers(self.name, layers, names):
            place = layers.index(wanted)
            layer: Any = network.layers[place] if place < len(network.layers) else None
            if type(layer).__name__ != wanted.kind or layer.output.shape[-1] != wanted.shape[-1]:
                raise EngineError(
                    f"The network {self.name!r} of this version of Keras has other layers: expected {wanted.kind} "
                    f"{wanted.name!r} at place {place}, got {getattr(layer, 'name', None)!r}. Leave layer out, or "
                    "install another version of tensorflow."
                )
            found.append(layer.output)
        return found

    def build_usual(self, recipe: Recipe, weights_path: Path) -> tuple[Any, Any]:
        """Return the network as people use it: a ``keras.Model`` of prepared pixels, and ``preprocess_input``."""
        with plain_settings(import_keras()) as keras:
            network, module = self._load(recipe, weights_path)
            return keras.Model(network.input, _pooled(keras, recipe, [network.output])), module.preprocess_input

    def _load(self, recipe: Recipe, weights_path: Path) -> tuple[Any, Any]:
        """Return the frozen network with its weights, and its module."""
        self._check_weights(recipe, weights_path)
        module = importlib.import_module(f"keras.applications.{self.application.split('.')[0]}")
        network = self.build_empty(recipe.image_size)
        try:
            network.load_weights(weights_path)
        except Exception as error:  # Keras and h5py raise many kinds for a file of the wrong shape
            raise WeightsError(
                f"The weights {str(weights_path)!r} do not fit {self.name!r} without its head "
                f"({first_line(error)}). Pass a file saved from this network with include_top=False."
            ) from error
        network.trainable = False
        return network, module

    def build_empty(self, image_size: tuple[int, int]) -> Any:
        """Return the network as a ``keras.Model`` without its head, with random weights."""
        keras = import_keras()
        module_name, function = self.application.split(".")
        module = importlib.import_module(f"keras.applications.{module_name}")
        with warnings.catch_warnings(), plain_settings(keras):
            # Of a size other than its own, Keras says which weights it will take: here it takes none.
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            return getattr(module, function)(include_top=False, weights=None, input_shape=(*image_size, 3))

    def _check_weights(self, recipe: Recipe, path: Path) -> None:
        found = self._weights_file(path).digest
        if found != recipe.weights:
            raise WeightsError(
                f"The weights {str(path)!r} of {self.name!r} are altered or damaged: expected SHA-256 "
                f"{recipe.weights}, got {found}. Install featx again, or fetch the file again."
            )


def keras_home() -> Path:
    """Return the folder where Keras keeps what it downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def import_keras() -> Any:
    """Return the keras module, imported quietly.

    Raises
    ------
    EngineError
        Keras or its backend is missing or broken.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except Exception as error:  # a broken tensorflow fails with anything, from ImportError to RuntimeError
        raise EngineError(
            f"Keras cannot be imported ({first_line(error)}). Install it anew: pip install tensorflow."
        ) from error
    return keras


def _pooled(keras: Any, recipe: Recipe, outputs: Any) -> Any:
    """Return one row of features from the outputs of one layer or several."""
    of_keras = keras.layers
    pools = {
        "avg": [of_keras.GlobalAveragePooling2D],
        "max": [of_keras.GlobalMaxPooling2D],
        "avgmax": [of_keras.GlobalAveragePooling2D, of_keras.GlobalMaxPooling2D],
        "none": [of_keras.Flatten],
    }[recipe.pooling]
    parts = [
        part for maps in outputs for part in ([pool()(maps) for pool in pools] if len(maps.shape) == 4 else [maps])
    ]
    return parts[0] if len(parts) == 1 else of_keras.Concatenate()(parts)


@functools.lru_cache(maxsize=16)
def _described(backbone: KerasBackbone, image_size: tuple[int, int]) -> tuple[LayerInfo, ...]:
    """Return the layers of a network at a size, which a child process builds for that: seconds."""
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        file = Path(folder) / "layers.json"
        task = {"backbone": dataclasses.asdict(backbone), "image_size": list(image_size), "file": str(file)}
        remedy = "Install tensorflow anew: pip install --force-reinstall tensorflow."
        run_child("featx.backbones.describing", task, f"describing the layers of {backbone.name!r}", remedy)
        return as_layers(json.loads(file.read_text(encoding="utf-8")))


@contextlib.contextmanager
def plain_settings(keras: Any) -> Iterator[Any]:
    """Build with Keras as it comes: what a user has set for other networks must not change a row."""
    before = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield keras
    finally:
        keras.config.set_floatx(before[1])
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[2])


def first_line(error: Exception) -> str:
    """Return the first line of a message, or the kind of an error that has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _file_digests(path: Path) -> dict[str, str]:
    """Return SHA-256 and MD5 of a file, read once in a process while it does not change."""
    state = os.stat(path)
    return _digests_in_state(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@functools.lru_cache(maxsize=16)
def _digests_in_state(path: Path, *state: int) -> dict[str, str]:
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while block := file.read(2**20):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}


KERAS_BACKBONES = (
    KerasBackbone(
        name="mobilenet",
        application="mobilenet.MobileNet",
        layer="conv_pw_13_relu",
        channels=1024,
        weights_url=f"{_SERVER}/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        bundled="mobilenet_1_0_224_tf_no_top.weights.h5",
        bundled_digest="9c4fd7b47b2e4952c65b68c7218579d0ab1a98a77742effefd238f2326cf64c6",
    ),
    KerasBackbone(
        name="mobilenet_v2",
        application="mobilenet_v2.MobileNetV2",
        layer="out_relu",
        channels=1280,
        weights_url=f"{_SERVER}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    KerasBackbone(
        name="resnet50",
        application="resnet.ResNet50",
        layer="conv5_block3_out",
        channels=2048,
        weights_url=f"{_SERVER}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        weights_md5="4d473c1dd8becc155b73f8504c6f6626",
    ),
    KerasBackbone(
        name="resnet50_v2",
        application="resnet_v2.ResNet50V2",
        layer="post_relu",
        channels=2048,
        weights_url=f"{_SERVER}/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        weights_md5="fac2f116257151a9d068a22e544a4917",
    ),
)
