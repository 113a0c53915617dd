"""Run a network of fixed batch sizes on any number of images."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError
from featx.system.array_types import AnyArray
from featx.system.shared_calls import SharedCalls

#: Returns the rows of as many images as the network was compiled for.
RunBatch: TypeAlias = Callable[[AnyArray], AnyArray]

#: Largest difference of equal outputs, relative to the largest output.
_RELATIVE_TOLERANCE = 1e-4
#: Up to this number, images run one by one. On two cores, each takes a seventh of the time of a padded batch
#: (``tests.benchmarks single-image``); on more cores, a single image gains less from them than a batch.
_MAX_SINGLES = COMPILED_BATCH_SIZE // 2


class FixedBatches:
    """Run any number of images in batches of one size, for one thread at a time.

    Threads with fewer images than a batch share their batches. The last batch is padded with zeros. From the second
    padded batch on, up to four remaining images run one by one through a network of batch size 1, if it gives the same
    rows, bit by bit, on this CPU. It is not compiled for the first one, since most processes extract one set of images
    and end.

    Parameters
    ----------
    run : callable
        Returns the rows of exactly `batch_size` images.
    image_size : tuple of (int, int)
        Height and width of the images.
    compile_single : callable or None, default=None
        Returns a function from exactly one image to its row; None if the network cannot be compiled for one image.
        Only with the default `batch_size`.
    release : callable or None, default=None
        Frees the memory in which `run` computes, until the next run: single images do not need it.
    batch_size : int, default=8
        Number of images of each batch.
    """

    #: Whether the network comes from a model file, so that nothing proves that its rows are those of the recipe.
    is_from_model_file = False

    def __init__(
        self,
        run: RunBatch,
        image_size: tuple[int, int],
        compile_single: Callable[[], RunBatch | None] | None = None,
        release: Callable[[], object] | None = None,
        batch_size: int = COMPILED_BATCH_SIZE,
    ) -> None:
        self._run = run
        self._release = release
        self._batch_size = batch_size
        self._image_size = image_size
        self._compile_single = compile_single
        self._run_single: RunBatch | None = None
        self._has_padded = False
        self._lock = threading.Lock()
        self._share: SharedCalls[AnyArray] = SharedCalls(self._run_images)

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return the rows of images: uint8 of shape (n_samples, height, width, 3). Several threads may call it."""
        if 0 < len(pixels) < self._batch_size:
            return np.stack(self._share(list(pixels)))
        return self._run_all(pixels)

    def _run_images(self, images: list[AnyArray]) -> list[AnyArray]:
        return list(self._run_all(np.stack(images)))

    def _run_all(self, pixels: AnyArray) -> AnyArray:
        n_full = len(pixels) - len(pixels) % self._batch_size
        starts = range(0, n_full, self._batch_size)
        remaining = pixels[n_full:]
        with self._lock:
            rows = [self._run(pixels[start : start + self._batch_size]) for start in starts]
            if 0 < len(remaining) <= _MAX_SINGLES and (run_single := self._single()) is not None:
                rows += [run_single(remaining[index : index + 1]) for index in range(len(remaining))]
            elif len(remaining):
                padding = np.zeros((self._batch_size - len(remaining), *remaining.shape[1:]), dtype=np.uint8)
                rows.append(self._run(np.concatenate([remaining, padding]))[: len(remaining)])
                if self._compile_single is not None and len(pixels) <= _MAX_SINGLES:  # the next ones run alone
                    self._free_batch()
        return np.concatenate(rows)

    def _single(self) -> RunBatch | None:
        """Return the network of batch size 1; None if it is not compiled yet or gives other rows."""
        if self._compile_single is not None and self._has_padded:
            batch = _random_batch(self._image_size)
            rows = self._run(batch)
            self._free_batch()  # before the other network takes memory
            run_single, self._compile_single = self._compile_single(), None
            if run_single is not None and np.array_equal(np.concatenate([*map(run_single, batch[:, None])]), rows):
                self._run_single = run_single
        self._has_padded = True
        return self._run_single

    def _free_batch(self) -> None:
        if self._release is not None:
            self._release()


def check_batch_independence(
    run: Callable[[AnyArray], list[AnyArray]], image_size: tuple[int, int], network: str
) -> None:
    """Raise an error if the outputs of one image depend on the other images of its batch, or on its position.

    Parameters
    ----------
    run : callable
        Returns the outputs of exactly `COMPILED_BATCH_SIZE` uint8 images; the first axis is the batch.
    image_size : tuple of (int, int)
        Height and width of the images.
    network : str
        Name of the network in the error message.

    Raises
    ------
    WeightsError
        If outputs depend on other images.
    """
    batch = _random_batch(image_size)
    source, target = 5, 0
    padded = np.zeros_like(batch)
    padded[target] = batch[source]
    for output, alone in zip(run(batch), run(padded), strict=True):
        tolerance = _RELATIVE_TOLERANCE * np.abs(output[source]).max(initial=0)
        if not np.allclose(alone[target], output[source], rtol=0, atol=tolerance, equal_nan=True):
            raise WeightsError(
                f"Cannot use network {network}: the features of an image depend on the other images of its batch. "
                "Export it for inference with a dynamic batch axis."
            )


def _random_batch(image_size: tuple[int, int]) -> AnyArray:
    """Return `COMPILED_BATCH_SIZE` uint8 images of noise, always the same."""
    return np.random.default_rng(0).integers(0, 256, (COMPILED_BATCH_SIZE, *image_size, 3), dtype=np.uint8)
