"""Networks of keras.applications: their weights, and how each wants its pixels. The one home of Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featx.backbones.base import Backbone, Weights
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
        """Return the length of a row: every pooling gives one feature a channel."""
        return self.channels

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

    def build(self, recipe: Recipe, weights_path: Path) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to features.

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
            network, module = self._load(recipe, weights_path)
            pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
            prepared = module.preprocess_input(keras.ops.cast(pixels, "float32"))
            maps = network(prepared, training=False)
            return keras.Model(pixels, _pooled(keras, recipe, maps))

    def build_usual(self, recipe: Recipe, weights_path: Path) -> tuple[Any, Any]:
        """Return the network as people use it: a ``keras.Model`` of prepared pixels, and ``preprocess_input``."""
        with plain_settings(import_keras()) as keras:
            network, module = self._load(recipe, weights_path)
            return keras.Model(network.input, _pooled(keras, recipe, network.output)), module.preprocess_input

    def _load(self, recipe: Recipe, weights_path: Path) -> tuple[Any, Any]:
        """Return the frozen network with its weights, and its module."""
        self._check_weights(recipe, weights_path)
        module_name, function = self.application.split(".")
        module = importlib.import_module(f"keras.applications.{module_name}")
        with warnings.catch_warnings():
            # Of a size other than its own, Keras says which weights it will take: here it takes none.
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            network = getattr(module, function)(include_top=False, weights=None, input_shape=(*recipe.image_size, 3))
        try:
            network.load_weights(weights_path)
        except Exception as error:  # Keras and h5py raise many kinds for a file of the wrong shape
            raise WeightsError(
                f"The weights {str(weights_path)!r} do not fit {self.name!r} without its head "
                f"({first_line(error)}). Pass a file saved from this network with include_top=False."
            ) from error
        network.trainable = False
        return network, module

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


def _pooled(keras: Any, recipe: Recipe, maps: Any) -> Any:
    pool = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    return pool[recipe.pooling](name="features")(maps)


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
