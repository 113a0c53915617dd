"""Run the backbone on batches of decoded images, one process at a time, and add the rows to the cache."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files.display_name import display_name
from featx.backbones.registry import Backbone, DirectBackbone
from featx.errors import EngineError, FeatxError
from featx.extraction.engines.engine import Engine
from featx.extraction.options import Resolved, warn_once
from featx.extraction.row_cache import RowCache
from featx.images.tta import ViewSet
from featx.system.array_types import BoolArray, DigestArray, FloatArray
from featx.system.formatting import first_line, format_count
from featx.system.locks import FairLock, wait_lock
from featx.system.shared_calls import ItemError

#: Maximum size of the pixels that are passed to the network at a time, whatever the batch size.
_MAX_BATCH_BYTES = 64 * 2**20


class BatchError(EngineError, ItemError):
    """The backbone fails on a batch, maybe on one of its images only."""


class RowComputer:
    """Compute the rows of decoded images that are not in the cache.

    Processes that add to a cache compute one after another on the same cores, and each first looks up what the others
    have computed meanwhile. A network uses all cores, so this is also the fastest order.

    Parameters
    ----------
    resolved : Resolved
    cache : RowCache
    folder : Path or None
        Cache folder, for compiled graphs and the name of the lock.
    """

    def __init__(self, resolved: Resolved, cache: RowCache, folder: Path | None) -> None:
        self._resolved = resolved
        self._cache = cache
        self._folder = folder
        self._views = ViewSet.of(resolved.recipe)
        self._engine: Engine | None = None
        # Backbones in plain Python may run at the same time, but only one process per recipe, whatever its views.
        recipe = dataclasses.replace(resolved.recipe, tta="")
        self._lock = FairLock(f"{folder} {recipe.fingerprint}" if resolved.engine == "direct" else "")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images must be decoded to."""
        return self._views.decoded_size

    @property
    def batch_size(self) -> int:
        """Number of images to pass to :meth:`compute_rows` at a time."""
        height, width = self.image_size
        n_views = min(self._resolved.batch_size, _MAX_BATCH_BYTES // (3 * height * width))
        return max(1, n_views // len(self._views))

    def compute_rows(self, pixels: np.ndarray[Any, Any], digests: DigestArray) -> tuple[FloatArray, BoolArray]:
        """Return the rows of decoded images, and which of them were computed rather than found in the cache.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (n_images, height, width, 3)
        digests : ndarray of uint8 of shape (n_images, 16)

        Returns
        -------
        rows : ndarray of float32 of shape (n_images, n_features)
            The shape is (n_images, n_views, n_features) if the views are not averaged.
        is_computed : ndarray of bool of shape (n_images,)

        Raises
        ------
        EngineError
            The backbone fails, or returns rows that cannot be right. No row of this batch is cached then.
        StoreError
            The cache cannot be read or written.
        """
        self._acquire()
        missing, rows = self._cache.read_views(digests)
        if missing.any() and self._engine is None:
            self._start()
            missing, rows = self._cache.read_views(digests)  # others may have computed meanwhile
        if missing.any():
            views = self._views.cut(pixels, digests, missing)
            rows[missing] = self._validate_rows(self._run(views), len(views))
            if not self._is_from_model_file:
                self._cache.add_rows(digests, rows, missing)
            if self._lock.should_release:
                self._cache.commit()
                self.release()
        return self._views.combine(rows), np.logical_or.reduce(missing)

    def release(self) -> None:
        """Let other processes compute."""
        self._lock.release()

    @property
    def _is_from_model_file(self) -> bool:
        """Whether the network is that of a model file: its rows are not added to the cache, which others share."""
        return getattr(self._engine, "is_from_model_file", False)

    def _acquire(self) -> None:
        if self._cache.needs_lock and not self._lock.locked and not self._is_from_model_file:
            self._resolved.check_not_forked()
            self._lock.acquire()
            self._cache.refresh()

    def _start(self) -> None:
        self._cache.prepare()  # fails before the network is loaded
        folder = self._folder / "compiled" if self._folder else None
        self._engine = self._resolved.start(folder, while_starting=self._letting_others_compute)
        if self._is_from_model_file:
            self.release()
            if self._cache.is_writable:
                warn_once(
                    "Features of this model are not added to the cache, which others share: only the model file has "
                    "its network, neither the package nor the cache."
                )

    @contextlib.contextmanager
    def _letting_others_compute(self) -> Iterator[None]:
        """Release the lock while a network starts: a conversion takes minutes. Only one process starts a network."""
        if not self._lock.locked:
            yield
            return
        self.release()
        with wait_lock(f"starting {self._folder} {self._resolved.recipe.graph_fingerprint}"):
            yield
        self._acquire()

    def _run(self, views: np.ndarray[Any, Any]) -> FloatArray:
        assert self._engine is not None
        try:
            return np.asarray(self._engine(views), dtype=np.float32)
        except (FeatxError, MemoryError):
            raise
        except Exception as error:
            if self._resolved.engine != "direct":
                raise
            raise BatchError(
                f"Backbone {self._resolved.backbone.name!r} failed on {format_count(len(views), 'image')} "
                f"({type(error).__name__}: {first_line(error)}). Fix its extract method."
            ) from error

    def _validate_rows(self, rows: FloatArray, n_views: int) -> FloatArray:
        expected = (n_views, self._resolved.n_features)
        if rows.shape == expected and np.isfinite(rows).all():
            return rows
        returned = "NaN or infinite values" if rows.shape == expected else f"shape {rows.shape}"
        raise BatchError(
            f"Backbone {self._resolved.backbone.name!r} must return finite rows of shape {expected}, got {returned}. "
            f"None of these rows was cached. {_remedy(self._resolved.backbone, self._resolved.weights_path)}"
        )


def _remedy(backbone: Backbone, weights_path: Path | None) -> str:
    if isinstance(backbone, DirectBackbone):
        return "Fix its extract and n_features methods."
    if backbone.is_model_file:
        return (
            f"Check the weights in {display_name(str(weights_path))}, and whether preprocessing (--preprocessing) is "
            "what the network was trained with."
        )
    return "The weights are invalid: pass other weights (--weights), or use the default."
