"""Where the processor's time of an extraction goes, stage by stage."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
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

_STAGES = ("read", "hash", "decode", "resize", "network", "store")


@dataclasses.dataclass(frozen=True)
class StageTime:
    """What one stage of an extraction costs.

    Attributes
    ----------
    stage : str
        ``read``, ``hash``, ``decode``, ``resize``, ``network``, ``store``; ``other`` is what a whole run takes
        beyond these: looking rows up, threads, copies, caches that both cores compete for.
    milliseconds : float
        Processor time per image, summed over cores.
    share : float
        Of the whole run, 0 to 1.
    """

    stage: str
    milliseconds: float
    share: float


class StageClock:
    """Add up the processor's time, of all threads, that each stage takes."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(_STAGES, 0.0)

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count what happens inside."""
        started = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - started


def time_stages(paths: Sequence[str], resolved: Resolved, compiled: Path | None) -> list[StageTime]:
    """Run each stage alone over images, and then all of them together.

    Parameters
    ----------
    paths : sequence of str
        Different image files, all of them readable.
    resolved : Resolved
        What to run.
    compiled : Path or None
        Where the compiled network is kept.

    Returns
    -------
    list of StageTime
        In the order of the pipeline; the milliseconds add up to those of a whole run.
    """
    size, resize = resolved.recipe.image_size, resolved.recipe.resize
    clock = StageClock()
    fitted, digests = [], []
    for path in paths:
        with clock.timing("read"):
            content, _ = read_image(path)
        with clock.timing("hash"):
            digests.append(content_digest(content))
        assert isinstance(content, bytes)  # as that of a file is
        with clock.timing("decode"):
            image = load_upright(content, open_image(content), size, resize)
        with clock.timing("resize"):
            fitted.append(np.asarray(resize_image(image, size, resize)))
    engine = resolved.start(compiled)
    engine(np.stack(fitted[: resolved.batch_size]))  # the first run sets up more than it computes
    with clock.timing("network"):
        rows = np.concatenate(
            [
                engine(np.stack(fitted[start : start + resolved.batch_size]))
                for start in range(0, len(fitted), resolved.batch_size)
            ]
        )
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        store = Store(Path(folder), "stages", {}, resolved.n_features)
        store.prepare()
        with clock.timing("store"):
            store.append(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(rows), -1), rows)
            store.commit()
    out = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    started = time.process_time()
    extract_into(out, paths, resolved, cache=None)  # reuses the engine that is running
    whole = time.process_time() - started + clock.seconds["store"]
    spent = {**clock.seconds, "other": max(0.0, whole - sum(clock.seconds.values()))}
    total = sum(spent.values())
    return [
        StageTime(stage, round(1000 * seconds / len(paths), 3), round(seconds / total, 3))
        for stage, seconds in spent.items()
    ]
