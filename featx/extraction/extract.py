"""One pass over images: rows that are stored, decode ahead for the others, run the network, commit."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from featx.backbones.files.model_cache import display_name
from featx.backbones.registry import Backbone, DirectBackbone
from featx.datasets.failures import Failure
from featx.errors import AuditError, EngineError, FeatxError, StoreError, UnreadableImageError
from featx.extraction.engines.engine import Engine
from featx.extraction.options import Resolved
from featx.images.image import DIGEST_SIZE, Image, describe_image, file_state
from featx.images.prefetch import DecodeAhead, Prepared
from featx.images.tta import ViewSet
from featx.store import layout as folders
from featx.store.file_index import DigestIndex
from featx.store.view_store import ViewStores
from featx.system.array_types import DigestArray
from featx.system.formatting import format_count
from featx.system.locks import FairLock

_LOOK_UP_AT_ONCE = 2048
#: Whatever the batch size, no more than this many bytes of pixels go to the network at a time.
_BATCH_BYTES = 64 * 2**20
_CACHED, _COMPUTED, _FAILED = 1, 2, 3
#: In place of a file's state.
UNKNOWN_STATE = (-1, -1)


def _remedy(backbone: Backbone, weights_path: Path | None) -> str:
    """Return what to do about rows that cannot be right."""
    if isinstance(backbone, DirectBackbone):
        return "Mend its extract and n_features."
    if backbone.is_model_file:
        return (
            f"Its weights or the preprocessing are to blame: look at what {display_name(str(weights_path))} gives for "
            "one image, and whether it wants its pixels as preprocessing (--preprocessing) says."
        )
    return "Its weights are to blame: pass others, or leave weights out."


class Rows(Protocol):
    """Where rows go: a float32 array (n_samples, n_features), in memory or on disk."""

    def __setitem__(self, positions: Any, rows: Any) -> None: ...

    def __getitem__(self, position: Any) -> Any: ...


def extract_rows(
    images: Sequence[Image],
    resolved: Resolved,
    *,
    cache: Path | None,
    progress: Callable[[int], object] | None = None,
) -> tuple[np.ndarray[Any, Any], DigestArray, dict[int, str]]:
    """Return rows of images, their digests, and why some cannot be read, by their positions.

    Returns
    -------
    rows : ndarray of float32, shape (n_images, n_features)
        NaN where an image cannot be read.
    digests : ndarray of uint8, shape (n_images, 16)
    errors : dict of int to str
    """
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    extraction = Extraction(images, resolved, rows, cache=cache, raise_on_error=False, progress=progress)
    extraction.run()
    return rows, extraction.digests, {failure.position: failure.reason for failure in extraction.failures}


class Extraction:
    """Fill one row for each image: from the store where it is there, else from the network.

    Parameters
    ----------
    images : sequence of images
        As :func:`featx.images.image.as_image_list` returns it.
    resolved : Resolved
        What to run.
    out : array of float32, shape (n_samples, n_features)
        Receives the rows; NaN where an image cannot be read. Of views that are not averaged
        (n_samples, n_views, n_features).
    cache : Path or None
        The cache folder; None keeps nothing.
    raise_on_error : bool, default=True
        Stop at the first image that cannot be read, or give it a row of NaN.
    progress : callable, default=None
        Called with the number of images done since the last call.

    Attributes
    ----------
    digests : ndarray of uint8, shape (n_samples, 16)
        Zeros where an image could not be read at all.
    states : ndarray of int64, shape (n_samples, 2)
        Size and time of change, in nanoseconds, of each file as it was taken; `UNKNOWN_STATE` of what is no file.
    failures : list of Failure
    padded : list of int
        Positions of images that ended too early and were made complete.
    """

    def __init__(
        self,
        images: Sequence[Image],
        resolved: Resolved,
        out: Rows,
        *,
        cache: Path | None,
        raise_on_error: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._images = images
        self._resolved = resolved
        self._out = out
        self._raise_on_error = raise_on_error
        self._progress = progress or (lambda n_done: None)
        self._compiled = cache / "compiled" if cache else None
        recipe = resolved.recipe
        self._views = ViewSet.of(recipe)
        self.store = ViewStores(cache, recipe, resolved.n_features) if cache else None
        self._index = DigestIndex(cache / folders.INDEX) if cache else None
        self._engine: Engine | None = None
        self._status = np.zeros(len(images), dtype=np.uint8)
        self.digests: DigestArray = np.zeros((len(images), DIGEST_SIZE), dtype=np.uint8)
        self.file_states = np.full((len(images), 2), UNKNOWN_STATE, dtype=np.int64)
        self.failures: list[Failure] = []
        self.padded: list[int] = []
        height, width = self._views.decoded_size
        most = min(resolved.batch_size, _BATCH_BYTES // (3 * height * width))
        self._batch_size = max(1, most // len(self._views))
        self._ahead = DecodeAhead(
            images,
            self._views.decoded_size,
            recipe.resize,
            self._is_stored,
            2 * self._batch_size,
            max_pixels=resolved.max_pixels,
            pad_truncated=resolved.pad_truncated,
        )
        self._repeats: list[int] = []
        self._errors: dict[int, UnreadableImageError] = {}
        # A network uses all cores, so one at a time is fastest; a backbone in plain Python is only kept from
        # computing what another process is about to keep, of whatever view.
        plain = dataclasses.replace(recipe, tta="").fingerprint
        network = "" if resolved.engine != "direct" else f"{cache} {plain}"
        self._lock = FairLock(network)

    @property
    def n_computed(self) -> int:
        """Distinct images of which a view, at least, went through the network."""
        return int((self._status == _COMPUTED).sum())

    @property
    def n_cached(self) -> int:
        """Images whose row was in the store, or was computed for an equal image of this run."""
        return int((self._status == _CACHED).sum())

    def run(self) -> None:
        """Fill every row; what is computed is committed even if this ends in an error.

        Raises
        ------
        UnreadableImageError
            With `raise_on_error`: the first image that cannot be read.
        StoreError
            The cache cannot be written.
        AuditError
            Some row was not accounted for.
        """
        try:
            positions: Sequence[int] = range(len(self._images))
            while positions:
                positions = self._pass_over(positions)
            self._fill_repeats()
        except BaseException:
            with contextlib.suppress(StoreError):  # what went wrong before matters more
                self._commit()  # also on Ctrl-C or an unreadable image, no row that was computed is lost
            raise
        self._commit()
        self.failures.sort(key=lambda failure: failure.position)
        self.padded.sort()
        self._audit()

    def _commit(self) -> None:
        try:
            if self.store is not None:
                self.store.commit()
        finally:
            self._lock.release()
            if self._index is not None:
                self._index.close()

    # One pass ----------------------------------------------------------------------------------------

    def _pass_over(self, positions: Sequence[int]) -> list[int]:
        """Settle positions; return those whose stored row proved damaged, to be computed."""
        batch: list[Prepared] = []
        stored: list[Prepared] = []
        damaged: list[int] = []
        for prepared in self._ahead.prepare(self._not_known_as_stored(positions)):
            self._note_digest(prepared)
            self._commit_if_due()
            if prepared.error:
                self._fail(prepared)
            elif prepared.pixels is not None:
                batch.append(prepared)
            elif prepared.stored:
                stored.append(prepared)
            else:
                self._repeats.append(prepared.position)
            if len(batch) == self._batch_size:
                self._compute(batch)
                batch = []
            if len(stored) == _LOOK_UP_AT_ONCE:
                damaged += self._fill_stored([item.position for item in stored])
                stored = []
        self._compute(batch)
        damaged += self._fill_stored([item.position for item in stored])
        for position in damaged:
            self._ahead.release(self.digests[position].tobytes())
        return damaged

    def _not_known_as_stored(self, positions: Iterable[int]) -> Iterator[int]:
        """Fill rows of files that the index knows and the store has; yield the other positions."""
        remaining = iter(positions)
        while chunk := list(itertools.islice(remaining, _LOOK_UP_AT_ONCE)):
            known = self._known_digests(chunk)
            missing = set(self._fill_stored(known))
            known_set = set(known)
            yield from (at for at in chunk if at not in known_set or at in missing)

    def _known_digests(self, positions: list[int]) -> list[int]:
        """Note the digests that the index knows; return the positions they belong to."""
        if self._index is None:
            return []
        files = []
        for position in positions:
            image = self._images[position]
            if isinstance(image, str | os.PathLike):
                try:
                    state = file_state(image)
                except (OSError, ValueError):
                    continue  # reading it will say what is wrong
                files.append((position, (os.fspath(image), state)))
        known = []
        for (position, (_, state)), digest in zip(files, self._index.find([file for _, file in files]), strict=True):
            if digest is not None:
                self.digests[position] = np.frombuffer(digest, dtype=np.uint8)
                self.file_states[position] = state.st_size, state.st_mtime_ns
                known.append(position)
        return known

    def _fill_stored(self, positions: list[int]) -> list[int]:
        """Fill rows from the store; return the positions that it does not have."""
        if self.store is None or not positions:
            return positions
        at = np.array(positions)
        found, rows = self.store.read(self.digests[at])
        self._out[at[found]] = rows
        self._settle(at[found], _CACHED)
        missing: list[int] = at[~found].tolist()
        return missing

    def _is_stored(self, digest: bytes) -> bool:
        return self.store is not None and bool(self.store.has(np.frombuffer(digest, dtype=np.uint8)[None])[0])

    def _note_digest(self, prepared: Prepared) -> None:
        if prepared.is_padded:
            self.padded.append(prepared.position)
        if prepared.state is not None:
            self.file_states[prepared.position] = prepared.state.st_size, prepared.state.st_mtime_ns
        if not prepared.digest:
            return
        self.digests[prepared.position] = np.frombuffer(prepared.digest, dtype=np.uint8)
        image = self._images[prepared.position]
        if self._index is not None and prepared.state is not None and isinstance(image, str | os.PathLike):
            self._index.add(os.fspath(image), prepared.state, prepared.digest, prepared.read_at)

    def _compute(self, batch: list[Prepared]) -> None:
        batch = self._still_missing(batch)
        if not batch:
            return
        if self._engine is None:
            if self.store is not None:
                self.store.prepare()
            self._engine = self._resolved.start(self._compiled)
        at = np.array([item.position for item in batch])
        missing, rows = self._stored_views(self.digests[at])
        pixels = np.stack([item.pixels for item in batch if item.pixels is not None])
        shown = self._views.show(pixels, self.digests[at], missing)
        rows[missing] = self._checked(self._run(self._engine, shown), len(shown))
        self._out[at] = self._views.combined(rows)
        self._settle(at, _COMPUTED)
        if self.store is not None:
            self.store.append(self.digests[at], rows, missing)
            if self._lock.should_release:
                self._commit_rows()
                self._lock.release()

    def _run(self, engine: Engine, shown: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return what the engine gives; an error of a backbone in plain Python under the backbone's name."""
        try:
            return np.asarray(engine(shown), dtype=np.float32)
        except (FeatxError, MemoryError):
            raise
        except Exception as error:
            if self._resolved.engine != "direct":
                raise
            raise EngineError(
                f"The backbone {self._resolved.backbone.name!r} failed at {format_count(len(shown), 'image')} "
                f"({type(error).__name__}: {' '.join(str(error).split())}). Mend its extract."
            ) from error

    def _stored_views(self, digests: DigestArray) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return which views of images are missing, and the rows of the others."""
        if self.store is not None:
            return self.store.read_each(digests)
        missing = np.ones((len(self._views), len(digests)), dtype=bool)
        return missing, np.empty((*missing.shape, self._resolved.n_features), dtype=np.float32)

    def _still_missing(self, batch: list[Prepared]) -> list[Prepared]:
        """Acquire the lock if rows are cached. Return the images that no other process has computed meanwhile."""
        if self.store is None or not batch:
            return batch
        if not self._lock.locked:
            self._resolved.check_not_forked()
            self._lock.acquire()
            self.store.refresh()
        missing = set(self._fill_stored([item.position for item in batch]))
        return [item for item in batch if item.position in missing]

    def _checked(self, rows: np.ndarray[Any, Any], n_images: int) -> np.ndarray[Any, Any]:
        """Refuse rows that cannot be right, before anything keeps them."""
        expected = (n_images, self._resolved.n_features)
        if rows.shape != expected or not np.isfinite(rows).all():
            found = f"shape {rows.shape}" if rows.shape != expected else "NaN or infinite values"
            backbone = self._resolved.backbone
            raise EngineError(
                f"The backbone {backbone.name!r} gave {found}; expected finite rows of shape {expected}. None was "
                f"kept. {_remedy(backbone, self._resolved.weights_path)}"
            )
        return rows

    def _commit_if_due(self) -> None:
        if self.store is not None and self.store.is_commit_due:
            self._commit_rows()

    def _commit_rows(self) -> None:
        if self.store is not None and self._index is not None:
            self.store.commit()
            self._index.commit()

    def _fail(self, prepared: Prepared) -> None:
        assert prepared.error is not None
        error, reason = type(prepared.error), prepared.error.reason
        if self._raise_on_error:
            # Of equal images the first is named, whichever thread was quicker.
            equal = [at for at in self._repeats if self.digests[at].tobytes() == prepared.digest]
            first = min([prepared.position, *equal])
            raise error(reason, describe_image(self._images[first]), first)
        name = describe_image(self._images[prepared.position])
        self.failures.append(Failure(prepared.position, name, reason, error.__name__))
        self._errors[prepared.position] = prepared.error
        self._out[prepared.position] = np.nan
        self._settle(np.array([prepared.position]), _FAILED)

    def _fill_repeats(self) -> None:
        """Copy rows to images equal to one computed or stored; an image equal to a bad one is bad."""
        for position in self._repeats:
            digest = self.digests[position].tobytes()
            first = self._ahead.claimant(digest)
            if first in self._errors:
                self._fail(Prepared(position, digest, error=self._errors[first]))
            else:
                if not np.array_equal(self.digests[position], self.digests[first]):  # it was made complete
                    self.digests[position] = self.digests[first]
                    self.padded.append(position)
                self._out[position] = self._out[first]
                self._settle(np.array([position]), _CACHED)

    def _settle(self, positions: np.ndarray[Any, Any], status: int) -> None:
        if self._status[positions].any():
            raise AuditError(f"Images {positions[:3].tolist()} … were given a row twice. Please report this.")
        self._status[positions] = status
        self._progress(len(positions))

    def _audit(self) -> None:
        left = np.flatnonzero(self._status == 0)
        if len(left) or len(self.failures) != (self._status == _FAILED).sum():
            raise AuditError(f"{len(left)} images were given no row, the first at {left[:1]}. Please report this.")
