"""Train the last layers of a network in a child process."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

import numpy as np

from featx.backbones.files.network_file import NetworkFile
from featx.backbones.layers import LayerInfo
from featx.backbones.registry import KerasBackbone, NetworkBackbone
from featx.backbones.workers.training_files import PIXELS, TrainingInput, TrainingResult, TrainingSettings
from featx.errors import FeatxError, OptionError, ResourceError, did_you_mean
from featx.extraction.options import Resolved
from featx.extraction.prefetch import Decoded, Failed, ReadOptions, SameAs, prefetch
from featx.images.image import Image
from featx.system.child_process import run_child
from featx.system.files.temporary import temporary_folder
from featx.system.terminal.progress import stage

#: A training uses all cores: one at a time is as fast as several, and needs the memory of one.
_training_lock = threading.Lock()


def first_trained_layer(resolved: Resolved, unfreeze: str | float) -> int:
    """Return the index of the first layer to train, or the number of layers if none is trained.

    Parameters
    ----------
    resolved : Resolved
        Backbone and options.
    unfreeze : str, int or float
        Name of the first layer to train, number of layers, or fraction of the layers. Layers are counted back from
        the layer of the features.

    Raises
    ------
    OptionError
        The backbone is not a Keras network or has no such layer, or the fraction or number is out of range.
    """
    backbone = resolved.backbone
    is_keras_file = isinstance(backbone, NetworkFile) and backbone.source.kind == "keras"
    if not isinstance(backbone, KerasBackbone) and not is_keras_file:
        raise OptionError(
            f"backbone must be a Keras network to be fine-tuned, got {backbone.name!r}. Choose a network that "
            "`featx backbones` lists, or pass a .keras file."
        )
    layers = backbone.layers()
    last = max(index for index, layer in enumerate(layers) if layer.name in resolved.recipe.layers)
    if isinstance(unfreeze, str):
        return _index_of_layer(backbone.name, layers[: last + 1], unfreeze)
    return max(0, last + 1 - _number_of_layers(unfreeze, last + 1))


def _number_of_layers(unfreeze: float, n_layers: int) -> int:
    is_number = isinstance(unfreeze, Integral)
    if not 0 <= unfreeze <= (np.inf if is_number else 1):
        raise OptionError(
            "unfreeze must be a float between 0 and 1 (fraction of the layers), a non-negative int (number of layers) "
            f"or the name of the first layer, got {unfreeze!r}."
        )
    return int(unfreeze) if is_number else round(unfreeze * n_layers)


def _index_of_layer(backbone: str, layers: Sequence[LayerInfo], name: str) -> int:
    names = [layer.name for layer in layers]
    if name not in names:
        raise OptionError(
            f"unfreeze must be a layer of {backbone!r} on the way to its features, got {name!r}."
            f"{did_you_mean(name, names)} `featx backbones {backbone} --layers` lists the layers."
        )
    return names.index(name)


def train(
    images: Sequence[Image],
    resolved: Resolved,
    first_layer: int,
    training_input: TrainingInput,
    settings: TrainingSettings,
) -> TrainingResult:
    """Train a network from a layer on, in a child process.

    The pixels are decoded once, to a temporary file of 150 kB for each image at 224 × 224.

    Parameters
    ----------
    images : sequence of images
    resolved : Resolved
        Backbone and options.
    first_layer : int
        Index of the first layer to train; see :func:`first_trained_layer`.
    training_input : TrainingInput
    settings : TrainingSettings

    Raises
    ------
    UnreadableImageError, EngineError, TrainingError
    ResourceError
        The temporary file cannot be written.
    """
    backbone = resolved.backbone
    assert isinstance(backbone, NetworkBackbone)
    with _training_lock, temporary_folder() as folder:
        try:
            write_pixels(images, resolved, folder / PIXELS)
            training_input.save(folder)
        except OSError as error:
            if isinstance(error, FeatxError):
                raise
            raise ResourceError(
                f"Cannot write the pixels of {len(images):,} images to {str(folder.parent)!r}: "
                f"{error.strerror or error}. Free some disk space, or set TMPDIR to another folder."
            ) from error
        task = {
            **backbone.as_task(),
            "recipe": resolved.recipe.as_dict(),
            "weights_path": str(resolved.weights_path.resolve()) if resolved.weights_path else None,
            "first_trained_layer": first_layer,
            "folder": str(folder),
            "settings": dataclasses.asdict(settings),
        }
        purpose = f"fine-tuning {backbone.name!r}"
        remedy = "If memory was short, pass a smaller batch_size or unfreeze; otherwise, reinstall tensorflow."
        n_epochs = settings.epochs * (2 if settings.refit else 1)
        with stage("fine-tune", n_epochs, "epochs", backbone.name) as progress:
            run_child("featx.backbones.workers.fine_tune", task, purpose, remedy, progress.begin_step)
        return TrainingResult.load(folder)


def write_pixels(images: Sequence[Image], resolved: Resolved, path: Path) -> None:
    """Write the pixels that the network receives to a ``.npy`` file, uint8 of shape (n_samples, height, width, 3).

    Raises
    ------
    UnreadableImageError
        For the first unreadable image.
    """
    recipe = resolved.recipe
    shape = (len(images), *recipe.image_size, 3)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    options = ReadOptions(
        recipe.image_size,
        recipe.resize,
        resolved.max_pixels,
        resolved.pad_truncated,
        window=resolved.recipe.pixel_range,
        n_ahead=2 * resolved.batch_size,
    )
    same = []
    for item in prefetch(images, range(len(images)), options):
        match item:
            case Decoded():
                pixels[item.index] = item.pixels
            case SameAs():
                same.append(item)
            case Failed():
                raise item.error
    for item in same:
        pixels[item.index] = pixels[item.first]
    pixels.flush()
