"""What the child process that tunes a network is given, and what it hands back."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files.network_file import NetworkFile
from featx.backbones.layers import LayerInfo
from featx.backbones.registry import KerasBackbone, NetworkBackbone
from featx.errors import FeatxError, OptionError, ResourceError, did_you_mean
from featx.extraction.options import Resolved
from featx.images.image import Image
from featx.images.prefetch import Decoded, Failed, Prefetcher, SameAs
from featx.system.child_process import run_child
from featx.system.files.atomic import temporary_folder

#: A network takes all cores: one at a time is as fast as several, and needs the memory of one.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A tuned network.

    Attributes
    ----------
    file : bytes
        The ``.keras`` file, from pixels from 0 to 255 to what becomes features.
    kernel, bias : ndarray of float32
        The output layer.
    history : list of dict
        One for each epoch.
    n_iter : int
        Epochs that the network was trained for.
    description : dict
        What is in the file: its size and layers.
    """

    file: bytes
    kernel: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]
    history: list[dict[str, float]]
    n_iter: int
    description: dict[str, Any]


def first_trained(resolved: Resolved, unfreeze: str | float) -> int:
    """Return the place of the first layer that is trained; the number of layers if none is.

    Parameters
    ----------
    resolved : Resolved
        Of a network of Keras.
    unfreeze : str, int or float
        Its name; how many layers, from the one that features are taken from; or which share of them.

    Raises
    ------
    OptionError
        The backbone is no network of Keras, or has no such layer; a share that is not from 0 to 1, or a number below 0.
    """
    backbone = resolved.backbone
    if not isinstance(backbone, KerasBackbone | NetworkFile) or (
        isinstance(backbone, NetworkFile) and backbone.kind != "keras"
    ):
        raise OptionError(
            f"backbone={backbone.name!r} cannot be fine-tuned: it is no network of Keras. Choose another of those that "
            "`featx backbones` lists, or pass a .keras file."
        )
    layers = backbone.layers()
    last = max(at for at, layer in enumerate(layers) if layer.name in resolved.recipe.layers)
    if isinstance(unfreeze, str):
        return _place(backbone.name, layers[: last + 1], unfreeze)
    return max(0, last + 1 - _number_of(unfreeze, last + 1))


def _number_of(unfreeze: float, n_layers: int) -> int:
    """Return how many layers a number of them, or a share, is."""
    is_number = isinstance(unfreeze, Integral)
    if not 0 <= unfreeze <= (np.inf if is_number else 1):
        raise OptionError(
            f"unfreeze={unfreeze!r}: expected a share of the layers from 0 to 1, a whole number of them, or the name "
            "of the first."
        )
    return int(unfreeze) if is_number else round(unfreeze * n_layers)


def _place(backbone: str, layers: Sequence[LayerInfo], name: str) -> int:
    names = [layer.name for layer in layers]
    if name not in names:
        raise OptionError(
            f"unfreeze={name!r}: {backbone!r} has no such layer among those that lead to its features."
            f"{did_you_mean(name, names)} Run `featx backbones {backbone} --layers` to list them."
        )
    return names.index(name)


def tune(
    images: Sequence[Image],
    resolved: Resolved,
    first: int,
    given: dict[str, np.ndarray[Any, Any]],
    settings: dict[str, Any],
    *,
    progress: Callable[[str], object] | None = None,
) -> Tuned:
    """Return a network trained from a layer on, by a child process.

    Parameters
    ----------
    images : sequence of images
    resolved : Resolved
    first : int
        Place of the layer; see :func:`first_trained`.
    given : dict of ndarray
        As :class:`featx.backbones.workers.fine_tune.Given` says, without the pixels: those are decoded once, into a file that
        takes 150 kB an image at 224 × 224, and read from there.
    settings : dict
        As :class:`featx.backbones.workers.fine_tune.Settings` says.
    progress : callable, default=None
        Called with a line for each epoch.

    Raises
    ------
    UnreadableImageError, EngineError, TrainingError
    ResourceError
        There is no room for the pixels.
    """
    backbone = resolved.backbone
    assert isinstance(backbone, NetworkBackbone)
    with _one_at_a_time, temporary_folder() as folder:
        try:
            write_pixels(images, resolved, folder / "pixels.npy")
            np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]  # of numpy's own signature
        except OSError as error:
            if isinstance(error, FeatxError):
                raise
            raise ResourceError(
                f"The pixels of {len(images)} images cannot be written to {str(folder.parent)!r}: "
                f"{error.strerror or error}. Make room there, or name another folder in the variable TMPDIR."
            ) from error
        task = {
            **backbone.as_task(),
            "recipe": resolved.recipe.as_dict(),
            "weights_path": str(resolved.weights_path.resolve()) if resolved.weights_path else None,
            "first": first,
            "folder": str(folder),
            "settings": settings,
        }
        remedy = "Try a smaller batch_size or unfreeze, if memory was short; or install tensorflow anew."
        said = progress or (lambda line: None)
        run_child("featx.backbones.workers.fine_tune", task, f"fine-tuning {backbone.name!r}", remedy, said)
        return _handed_back(folder)


def _handed_back(folder: Path) -> Tuned:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    with np.load(folder / "output.npz", allow_pickle=False) as output:
        return Tuned((folder / "tuned.keras").read_bytes(), output["kernel"], output["bias"], **result)


def write_pixels(images: Sequence[Image], resolved: Resolved, path: Path) -> None:
    """Write images as the network is shown them: uint8, shape (n, height, width, 3), a ``.npy`` file.

    Raises
    ------
    UnreadableImageError
        The first image that cannot be read.
    """
    recipe = resolved.recipe
    shape = (len(images), *recipe.image_size, 3)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    prefetcher = Prefetcher(
        images,
        recipe.image_size,
        recipe.resize,
        n_ahead=2 * resolved.batch_size,
        max_pixels=resolved.max_pixels,
        pad_truncated=resolved.pad_truncated,
    )
    same = []
    for item in prefetcher.prefetch(range(len(images))):
        match item:
            case Decoded():
                pixels[item.index] = item.pixels
            case SameAs():
                same.append(item)
            case Failed():
                raise item.named_error(images[item.index])
    for item in same:
        pixels[item.index] = pixels[item.first]
    pixels.flush()
