"""Measure the processor time of an extraction, stage by stage."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from featx.extraction.extract import extract_into
from featx.extraction.options import Resolved
from featx.images.formats import open_image
from featx.images.image import content_digest, read_image
from featx.images.resize import resize_image
from featx.images.to_rgb import load_upright
from featx.store.store import Store
from featx.system.array_types import AnyArray
from featx.system.files.temporary import temporary_folder
from featx.system.notebook.cards import Record

_STAGES = ("read", "hash", "decode", "resize", "network", "store")


@dataclasses.dataclass(frozen=True)
class StageTime(Record):
    """Processor time of one stage of an extraction.

    Attributes
    ----------
    stage : {"read", "hash", "decode", "resize", "network", "store", "other"}
        "other" is the rest of a complete run: lookups, threads, copies, cache misses of the processor.
    milliseconds : float
        Processor time per image, summed over cores.
    share : float
        Fraction of the complete run, from 0 to 1.

    See Also
    --------
    BackboneBenchmark : Times of all stages of a backbone.

    Examples
    --------
    >>> from featx import StageTime
    >>> stages = [StageTime("decode", 0.9, 0.2), StageTime("network", 3.6, 0.8)]
    >>> max(stages, key=lambda stage: stage.share).stage
    'network'
    """

    stage: str
    milliseconds: float
    share: float


class StageClock:
    """Sum of the processor time of each stage, over all threads."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(_STAGES, 0.0)

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the processor time of a block to a stage."""
        started = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - started


def time_stages(paths: Sequence[str], resolved: Resolved, compiled: Path | None) -> list[StageTime]:
    """Run each stage alone on image files, and then a complete extraction.

    Parameters
    ----------
    paths : sequence of str
        Image files with different content, all of them readable.
    resolved : Resolved
    compiled : Path or None
        Folder of compiled networks.

    Returns
    -------
    list of StageTime
        Stages in the order of the pipeline. Their milliseconds add up to those of the complete run.
    """
    clock = StageClock()
    pixels, digests = _decode(paths, resolved, clock)
    engine = resolved.start(compiled)
    engine(np.stack(pixels[: resolved.batch_size]))  # the first run includes set-up
    batches = [pixels[start : start + resolved.batch_size] for start in range(0, len(pixels), resolved.batch_size)]
    with clock.timing("network"):
        rows = np.concatenate([engine(np.stack(batch)) for batch in batches])
    with temporary_folder() as folder:
        store = Store(folder, "stages", {}, resolved.n_features)
        store.prepare()
        with clock.timing("store"):
            store.append(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(rows), -1), rows)
            store.commit()
    out = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    started = time.process_time()
    extract_into(out, paths, resolved, cache=None)  # reuses the engine that is running
    complete = time.process_time() - started + clock.seconds["store"]
    seconds = {**clock.seconds, "other": max(0.0, complete - sum(clock.seconds.values()))}
    total = sum(seconds.values())
    return [
        StageTime(stage, round(1000 * value / len(paths), 3), round(value / total, 3))
        for stage, value in seconds.items()
    ]


def _decode(paths: Sequence[str], resolved: Resolved, clock: StageClock) -> tuple[list[AnyArray], list[bytes]]:
    """Return the pixels and digests of image files."""
    recipe = resolved.recipe
    size, resize, window = recipe.image_size, recipe.resize, recipe.pixel_range
    pixels, digests = [], []
    for path in paths:
        with clock.timing("read"):
            content, _ = read_image(path)
        with clock.timing("hash"):
            digests.append(content_digest(content))
        with clock.timing("decode"):
            if isinstance(content, bytes):
                upright = load_upright(content, open_image(content, window), size, resize, window=window)
            else:  # an array in a file
                upright = content if content.ndim == 3 else np.stack([content] * 3, axis=-1)
        with clock.timing("resize"):
            pixels.append(resize_image(upright, size, resize))
    return pixels, digests
