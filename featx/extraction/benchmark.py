"""How fast this machine decodes, computes and extracts, and how that compares with what people write today."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.registry import KerasBackbone
from featx.errors import OptionError, SourceError
from featx.extraction.engines import engine as engines
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.stage_times import StageTime, time_stages
from featx.extraction.throughput import processor
from featx.images.prefetch import Decoded, Prefetcher
from featx.system.child_process import run_child
from featx.system.processes import n_cores

#: Photos of a source that are used: enough for a steady rate, few enough for a minute.
MOST_IMAGES = 512
_NETWORK_IMAGES = 128
_FEWEST_IMAGES = 16
_RUNS = 3


@dataclasses.dataclass(frozen=True)
class NetworkRate:
    """One way of running a network.

    Attributes
    ----------
    engine, precision : str
    images_per_second : float
        Of the network alone, on pixels that are ready.
    cosine : float
        Mean cosine of its features to those of ``model.predict`` at float32.
    """

    engine: str
    precision: str
    images_per_second: float
    cosine: float


@dataclasses.dataclass(frozen=True)
class BackboneBenchmark:
    """Rates of one backbone, in images/s.

    Attributes
    ----------
    backbone : str
    decode : float
        Reading and decoding files, with all cores.
    networks : list of NetworkRate
        Engines and precisions that this machine has.
    precision : str
        What ``precision="auto"`` is here; the next two are for it.
    pipeline : float
        From files to features.
    share_of_roof : float
        The pipeline's rate over 1 / (1 / decode + 1 / network): what it loses by not overlapping perfectly.
    usual : float
        From files to features with tf.data and ``model.predict``.
    ratio : float
        The pipeline's rate over the usual one.
    stages : list of StageTime
        Where the processor's time goes, in the order of the pipeline.
    """

    backbone: str
    decode: float
    networks: list[NetworkRate]
    precision: str
    pipeline: float
    share_of_roof: float
    usual: float
    ratio: float
    stages: list[StageTime]


@dataclasses.dataclass(frozen=True)
class Bench:
    """What ``featx benchmark`` found.

    Attributes
    ----------
    machine : str
        Processor and system.
    cores : int
    images : int
        Files that were used.
    results : list of BackboneBenchmark
    """

    machine: str
    cores: int
    images: int
    results: list[BackboneBenchmark]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx benchmark --json`` prints."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return a table for people."""
        lines = [f"{self.machine}, {self.cores} cores; {self.images} images; images/s", ""]
        for result in self.results:
            lines.append(f"{result.backbone}")
            lines.append(f"  {'read and decode, all cores':<38} {result.decode:>8.0f}")
            for network in result.networks:
                name = f"network alone: {network.engine}, {network.precision}"
                lines.append(f"  {name:<38} {network.images_per_second:>8.0f}   cosine to Keras {network.cosine:.5f}")
            lines.append(
                f"  {f'featx from files, {result.precision}':<38} {result.pipeline:>8.0f}   "
                f"{result.share_of_roof:.0%} of what decoder and network allow"
            )
            lines.append(f"  {'tf.data + model.predict from files':<38} {result.usual:>8.0f}")
            lines.append(f"  featx is {result.ratio:.1f} times as fast\n")
            lines.append("  where the processor's time goes, ms per image, all cores together")
            lines += [f"  {stage.stage:<38} {stage.milliseconds:>8.2f} {stage.share:>6.0%}" for stage in result.stages]
            lines.append("")
        return "\n".join(lines).rstrip()


def measure_throughput(
    paths: Sequence[str],
    options: Sequence[ExtractionOptions],
    *,
    cache: Path | None,
    progress: Callable[[str], object] | None = None,
) -> Bench:
    """Measure each backbone on these images.

    Every figure is the median of three runs; the usual pipeline's, to be fair to it, the best of two.

    Parameters
    ----------
    paths : sequence of str
        Image files; at most 512 of them are used, evenly spread.
    options : sequence of ExtractionOptions
        One for each backbone; a network of Keras.
    cache : Path or None
        Where the compiled network is kept. No row is read or kept.
    progress : callable, default=None
        Called with what is measured next.

    Raises
    ------
    SourceError
        Fewer than 16 readable images.
    OptionError
        A backbone that is no Keras network.
    """
    if not paths:
        raise SourceError("No images to measure on. Point at a folder of photos.")
    chosen = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, MOST_IMAGES).astype(int))]
    say = progress or (lambda text: None)
    compiled = cache / "compiled" if cache else None
    results = [_bench_one(chosen, wanted.resolve(), compiled, say) for wanted in options]
    machine = f"{processor()} ({platform.system()}, Python {platform.python_version()})"
    return Bench(machine, n_cores(), len(chosen), results)


def _bench_one(
    paths: list[str], resolved: Resolved, compiled: Path | None, say: Callable[[str], object]
) -> BackboneBenchmark:
    name = resolved.recipe.backbone
    if not isinstance(resolved.backbone, KerasBackbone):
        raise OptionError(f"backbone={name!r} is no network of Keras, so there is nothing to compare it with.")
    say(f"{name}: reading and decoding …")
    pixels = _some_pixels(paths, resolved)
    decode = _rate(len(paths), lambda: _decode(paths, resolved))
    say(f"{name}: the usual pipeline, in a process of its own …")
    usual, reference = _usual(paths, resolved, pixels)
    networks = []
    for precision in _precisions(resolved.engine):
        say(f"{name}: the network at {precision} …")
        recipe = dataclasses.replace(resolved.recipe, precision=precision)
        engine = dataclasses.replace(resolved, recipe=recipe).start(compiled)
        rate = _rate(len(pixels), functools.partial(engine, pixels))
        networks.append(NetworkRate(resolved.engine, precision, round(rate, 1), _cosine(engine(pixels), reference)))
    networks.append(NetworkRate("keras predict", "float32", round(usual["network"], 1), 1.0))
    say(f"{name}: from files to features …")
    pipeline = _rate(len(paths), lambda: _extract(paths, resolved))
    network = next(rate for rate in networks if rate.precision == resolved.recipe.precision)
    readable = [paths[item.index] for item in _decoded(paths, resolved)]
    stages = time_stages(readable[:_NETWORK_IMAGES], resolved, compiled)
    return BackboneBenchmark(
        backbone=name,
        decode=round(decode, 1),
        networks=networks,
        precision=resolved.recipe.precision,
        pipeline=round(pipeline, 1),
        share_of_roof=round(pipeline * (1 / decode + 1 / network.images_per_second), 3),
        usual=round(usual["pipeline"], 1),
        ratio=round(pipeline / usual["pipeline"], 2),
        stages=stages,
    )


def _precisions(engine: str) -> list[str]:
    if engine != "openvino":
        return ["float32"]
    return ["bfloat16", "float32"] if engines.has_native_bfloat16() else ["float32"]


def _decoded(paths: list[str], resolved: Resolved) -> Iterator[Decoded]:
    recipe = resolved.recipe
    prefetcher = Prefetcher(paths, recipe.image_size, recipe.resize, n_ahead=2 * resolved.batch_size)
    return (item for item in prefetcher.prefetch(range(len(paths))) if isinstance(item, Decoded))


def _decode(paths: list[str], resolved: Resolved) -> None:
    for _ in _decoded(paths, resolved):
        pass


def _some_pixels(paths: list[str], resolved: Resolved) -> np.ndarray[Any, Any]:
    readable = (item.pixels for item in _decoded(paths, resolved))
    pixels = list(itertools.islice(readable, _NETWORK_IMAGES))
    if len(pixels) < _FEWEST_IMAGES:
        raise SourceError(
            f"Only {len(pixels)} different images can be read; a rate needs {_FEWEST_IMAGES} or more. Point at a "
            "folder with more photos, or leave the source out to measure on generated ones."
        )
    return np.stack(pixels)


def _extract(paths: list[str], resolved: Resolved) -> None:
    rows = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    extract_into(rows, paths, resolved, cache=None, raise_on_error=False)


def _usual(
    paths: list[str], resolved: Resolved, pixels: np.ndarray[Any, Any]
) -> tuple[dict[str, float], np.ndarray[Any, Any]]:
    """Return the rates of what people write today, and its features of these pixels."""
    assert isinstance(resolved.backbone, KerasBackbone)
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        np.save(Path(folder) / "pixels.npy", pixels, allow_pickle=False)
        task = {
            "backbone": dataclasses.asdict(resolved.backbone),
            "recipe": resolved.recipe.as_dict(),
            "weights_path": str(resolved.weights_path) if resolved.weights_path else None,
            "paths": paths,
            "folder": folder,
        }
        run_child(
            "featx.backbones.workers.keras_reference",
            task,
            f"measuring {resolved.recipe.backbone!r} with tf.data and model.predict",
            "Try fewer or other images, or install tensorflow anew.",
        )
        rates: dict[str, float] = json.loads((Path(folder) / "rates.json").read_text())
        return rates, np.load(Path(folder) / "rows.npy", allow_pickle=False)


def _rate(n_images: int, run: Callable[[], object]) -> float:
    """Images/s: the median of a few runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return n_images / statistics.median(seconds)


def _cosine(rows: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> float:
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(reference, axis=1)
    return round(float(((rows * reference).sum(axis=1) / norms).mean()), 5)
