"""Run a network of fixed batch sizes on any number of images."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError
from featx.system.array_types import AnyArray

#: Returns the rows of as many images as the network was compiled for.
RunBatch: TypeAlias = Callable[[AnyArray], AnyArray]

#: Largest difference of equal outputs, relative to the largest output.
_RELATIVE_TOLERANCE = 1e-4
#: Up to this number, images run one by one; beyond it, padding a batch is as fast or faster.
_MAX_SINGLES = COMPILED_BATCH_SIZE // 2
#: Maximum number of images of several threads that run together.
_MAX_SHARED = 8 * COMPILED_BATCH_SIZE


class FixedBatches:
    """Run any number of images in batches of `COMPILED_BATCH_SIZE`.

    The last batch is padded with zeros. From the second padded batch on, up to four remaining images run one by one
    through a network of batch size 1, if it gives the same rows, bit by bit, on this CPU. It is not compiled for the
    first one, since most processes extract one set of images and end.

    Parameters
    ----------
    run : callable
        Returns the rows of exactly `COMPILED_BATCH_SIZE` images.
    image_size : tuple of (int, int)
        Height and width of the images.
    compile_single : callable or None, default=None
        Returns a function from exactly one image to its row; None if the network cannot be compiled for one image.
    """

    def __init__(
        self,
        run: RunBatch,
        image_size: tuple[int, int],
        compile_single: Callable[[], RunBatch | None] | None = None,
    ) -> None:
        self._run = run
        self._image_size = image_size
        self._compile_single = compile_single
        self._run_single: RunBatch | None = None
        self._has_padded = False

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return the rows of images: uint8 of shape (n_samples, height, width, 3)."""
        n_full = len(pixels) - len(pixels) % COMPILED_BATCH_SIZE
        starts = range(0, n_full, COMPILED_BATCH_SIZE)
        rows = [self._run(pixels[start : start + COMPILED_BATCH_SIZE]) for start in starts]
        remaining = pixels[n_full:]
        if 0 < len(remaining) <= _MAX_SINGLES and (run_single := self._single()) is not None:
            rows += [run_single(remaining[index : index + 1]) for index in range(len(remaining))]
        elif len(remaining):
            padding = np.zeros((COMPILED_BATCH_SIZE - len(remaining), *remaining.shape[1:]), dtype=np.uint8)
            rows.append(self._run(np.concatenate([remaining, padding]))[: len(remaining)])
        return np.concatenate(rows)

    def _single(self) -> RunBatch | None:
        """Return the network of batch size 1; None if it is not compiled yet or gives other rows."""
        if self._compile_single is not None and self._has_padded:
            run_single, self._compile_single = self._compile_single(), None
            if run_single is not None and self._gives_equal_rows(run_single):
                self._run_single = run_single
        self._has_padded = True
        return self._run_single

    def _gives_equal_rows(self, run_single: RunBatch) -> bool:
        batch = _random_batch(self._image_size)
        singles = np.concatenate([run_single(batch[index : index + 1]) for index in range(len(batch))])
        return np.array_equal(singles, self._run(batch))


class SharedBatches:
    """Let threads that call a network at the same time share its batches.

    While the network runs for one thread, the images of others wait. The next thread runs all that wait together. A
    lone thread never waits.

    Parameters
    ----------
    run : callable
        Returns the rows of any number of images. Only one thread calls it at a time.
    """

    def __init__(self, run: Callable[[AnyArray], AnyArray]) -> None:
        self._run = run
        self._running = threading.Lock()
        self._waiting: collections.deque[tuple[AnyArray, Future[AnyArray]]] = collections.deque()

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return the rows of images: uint8 of shape (n_samples, height, width, 3)."""
        rows: Future[AnyArray] = Future()
        self._waiting.append((pixels, rows))
        with self._running:
            while not rows.done():
                self._run_waiting(rows)
        return rows.result()

    def _run_waiting(self, own: Future[AnyArray]) -> None:
        """Run the images of the threads that wait, the longest waiting first."""
        calls: list[tuple[AnyArray, Future[AnyArray]]] = []
        n_images = 0
        while self._waiting and (not calls or n_images + len(self._waiting[0][0]) <= _MAX_SHARED):
            calls.append(self._waiting.popleft())
            n_images += len(calls[-1][0])
        try:
            rows = self._run(calls[0][0] if len(calls) == 1 else np.concatenate([pixels for pixels, _ in calls]))
        except Exception as error:  # each of the calls raises it
            for _, future in calls:
                future.set_exception(error)
            return
        except BaseException:  # an interrupt concerns this thread only: the others run their images themselves
            self._waiting.extendleft(call for call in reversed(calls) if call[1] is not own)
            raise
        ends = np.cumsum([len(pixels) for pixels, _ in calls])
        for (pixels, future), end in zip(calls, ends, strict=True):
            future.set_result(rows[end - len(pixels) : end])


def check_batch_independence(
    run: Callable[[AnyArray], list[AnyArray]], image_size: tuple[int, int], network: str
) -> None:
    """Raise if the outputs of one image depend on the other images of its batch, or on its position.

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
