"""Measure the extraction speed of this machine, part by part, and compare it with tf.data and ``model.predict``."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.registry import KerasBackbone, load_backbone
from featx.datasets.find import find_images
from featx.datasets.sample_images import write_sample_images
from featx.errors import EngineError, FeatxWarning, MissingDependencyError, OptionError, SourceError
from featx.extraction.benchmarking.benchmark_results import BackboneBenchmark, Benchmark, NetworkRate
from featx.extraction.benchmarking.rates import save_rates
from featx.extraction.benchmarking.stage_times import time_stages
from featx.extraction.engines.calibration import CALIBRATION
from featx.extraction.engines.engine import Precision, has_native_bfloat16
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved, resolve_cache
from featx.extraction.prefetch import Decoded, ReadOptions, prefetch
from featx.features.search.cosine import mean_cosine
from featx.system.array_types import AnyArray
from featx.system.child_process import run_child
from featx.system.files.temporary import temporary_folder
from featx.system.formatting import first_line
from featx.system.option_checks import as_list
from featx.system.processes import n_cores, processor_name
from featx.system.terminal.progress import ProgressFunction, Stage, reporting, stage

#: Number of images that are used at most, run through the network alone, and required at least.
_MAX_IMAGES = 512
_NETWORK_IMAGES = 128
_MIN_IMAGES = 16
_RUNS = 3


def benchmark_images(
    source: Any = None,
    *,
    backbones: Sequence[str] = ("mobilenet",),
    weights: str | os.PathLike[str] | None = "imagenet",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = "auto",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> Benchmark:
    """Measure the extraction speed of this machine, compared with tf.data and ``model.predict``.

    Every rate is the median of three runs; that of tf.data the better of two. The rates are stored in the cache for
    ``featx backbones``.

    Parameters
    ----------
    source : str, Path, sequence of str or Path, or None, default=None
        Folders or files of photos, see :func:`find_images`. At most 512 of them are used, evenly spread. None:
        generated photos of 500 × 375 pixels.
    backbones : sequence of str, default=("mobilenet",)
        Names of backbones from ``keras.applications``.
    weights : str, Path or None, default="imagenet"
        Weights of the networks, see :class:`FeatureExtractor`.
    device : str, default="auto"
        Device that runs the networks, see :class:`FeatureExtractor`.
    cache : str, Path or None, default="auto"
        Path of the feature cache, for compiled networks and rates; rows are neither read nor written. "auto":
        ``FEATX_CACHE`` if set, else ``./cache``. None: no caching.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    Benchmark
        Rates of each backbone; ``as_text()`` is what ``featx benchmark`` prints.

    Raises
    ------
    SourceError
        Fewer than 16 images can be read.
    OptionError
        A backbone is not from ``keras.applications``.
    WeightsError, EngineError
        A network cannot be run.

    Warns
    -----
    FeatxWarning
        The rates cannot be stored in the cache.

    See Also
    --------
    FeatureExtractor : Extract features.
    available_backbones : Return the names of backbones.

    Examples
    --------
    ``print(benchmark_images("photos/").as_text())`` measures MobileNet. Only networks from ``keras.applications`` can
    be measured:

    >>> from featx import benchmark_images
    >>> from featx.errors import OptionError
    >>> try:
    ...     benchmark_images("photos/", backbones=["color_histogram"], cache=None)
    ... except OptionError as error:
    ...     print(error)
    backbones (--backbone) must be from keras.applications, ..., got 'color_histogram'.
    """
    folder = resolve_cache(cache)
    names = list(dict.fromkeys(as_list("backbones", backbones)))
    for name in names:
        if not isinstance(load_backbone(name), KerasBackbone):
            raise _not_keras_error(name)
    options = [ExtractionOptions(name, weights=weights, device=device) for name in names]
    with temporary_folder() as generated:
        paths = write_sample_images(generated) if source is None else find_images(source).paths
        with reporting(verbose, progress):
            benchmark = measure_throughput(paths, options, cache=folder)
    if folder is not None:
        try:
            save_rates(folder, {result.backbone: result.pipeline for result in benchmark.results})
        except OSError as error:
            warnings.warn(
                f"Cannot store the rates in the cache {str(folder)!r}: {first_line(error)}.", FeatxWarning, stacklevel=2
            )
    return benchmark


def measure_throughput(
    paths: Sequence[str],
    options: Sequence[ExtractionOptions],
    *,
    cache: Path | None,
) -> Benchmark:
    """Measure backbones on image files. See :func:`benchmark_images`.

    Parameters
    ----------
    paths : sequence of str
        Image files; at most 512 of them are used, evenly spread.
    options : sequence of ExtractionOptions
        One for each backbone.
    cache : Path or None
        Cache folder, for compiled networks.
    """
    if not paths:
        raise SourceError("The source contains no images. Pass a folder of photos.")
    indices = np.unique(np.linspace(0, len(paths) - 1, _MAX_IMAGES).astype(int))
    chosen = [paths[index] for index in indices]
    compiled = cache / "compiled" if cache else None
    resolved = [backbone.resolve() for backbone in options]
    n_steps = sum(3 + len(_precisions(backbone.engine)) for backbone in resolved)
    with stage("measure", n_steps, "steps") as advance:
        results = [_benchmark_backbone(chosen, backbone, compiled, advance) for backbone in resolved]
    machine = f"{processor_name()} ({platform.system()}, Python {platform.python_version()})"
    return Benchmark(machine, n_cores(), len(chosen), results)


def _benchmark_backbone(
    paths: list[str], resolved: Resolved, compiled: Path | None, progress: Stage
) -> BackboneBenchmark:
    name = resolved.recipe.backbone
    if not isinstance(resolved.backbone, KerasBackbone):
        raise _not_keras_error(name)
    progress.describe(f"{name}, reading and decoding")
    pixels = _sample_pixels(paths, resolved)
    decode = _rate(len(paths), lambda: _decode(paths, resolved))
    progress(1)
    progress.describe(f"{name}, tf.data and model.predict in another process")
    keras, reference = _measure_keras(paths, resolved, pixels)
    progress(1)
    networks = []
    int8_problem = ""
    for precision in _precisions(resolved.engine):
        progress.describe(f"{name}, the network with {precision}")
        try:
            networks.append(_measure_network(resolved, precision, pixels, reference, compiled))
        except (EngineError, OptionError, MissingDependencyError) as error:
            if precision != "int8":
                raise
            int8_problem = str(error)
        progress(1)
    networks.append(NetworkRate("keras predict", "float32", round(keras["network"], 1), 1.0))
    progress.describe(f"{name}, from files to features")
    pipeline = _rate(len(paths), lambda: _extract(paths, resolved))
    progress(1)
    network = next(rate for rate in networks if rate.precision == resolved.recipe.precision)
    readable = [paths[item.index] for item in _decoded(paths, resolved)]
    return BackboneBenchmark(
        backbone=name,
        decode=round(decode, 1),
        networks=networks,
        precision=resolved.recipe.precision,
        pipeline=round(pipeline, 1),
        efficiency=round(pipeline * (1 / decode + 1 / network.images_per_second), 3),
        keras=round(keras["pipeline"], 1),
        ratio=round(pipeline / keras["pipeline"], 2),
        stages=time_stages(readable[:_NETWORK_IMAGES], resolved, compiled),
        int8_problem=int8_problem,
    )


def _measure_network(
    resolved: Resolved, precision: Precision, pixels: AnyArray, reference: AnyArray, compiled: Path | None
) -> NetworkRate:
    calibration = CALIBRATION if precision == "int8" else ""
    recipe = dataclasses.replace(resolved.recipe, precision=precision, calibration=calibration)
    engine = dataclasses.replace(resolved, recipe=recipe).start(compiled)
    rate = _rate(len(pixels), functools.partial(engine, pixels))
    return NetworkRate(
        resolved.engine_and_device, precision, round(rate, 1), round(mean_cosine(engine(pixels), reference), 5)
    )


def _not_keras_error(backbone: str) -> OptionError:
    return OptionError(
        f"backbones (--backbone) must be from keras.applications, which has a reference to compare with, got "
        f"{backbone!r}."
    )


def _precisions(engine: str) -> list[Precision]:
    if engine == "onnxruntime":
        return ["float16", "float32"]
    if engine != "openvino":
        return ["float32"]
    return ["int8", "bfloat16", "float32"] if has_native_bfloat16() else ["int8", "float32"]


def _decoded(paths: list[str], resolved: Resolved) -> Iterator[Decoded]:
    recipe = resolved.recipe
    options = ReadOptions(recipe.image_size, recipe.resize, window=recipe.pixel_range, n_ahead=2 * resolved.batch_size)
    return (item for item in prefetch(paths, range(len(paths)), options) if isinstance(item, Decoded))


def _decode(paths: list[str], resolved: Resolved) -> None:
    for _ in _decoded(paths, resolved):
        pass


def _sample_pixels(paths: list[str], resolved: Resolved) -> AnyArray:
    readable = (item.pixels for item in _decoded(paths, resolved))
    pixels = list(itertools.islice(readable, _NETWORK_IMAGES))
    if len(pixels) < _MIN_IMAGES:
        raise SourceError(
            f"A benchmark needs at least {_MIN_IMAGES} different images, got {len(pixels):,} that can be read. Pass a "
            "folder with more photos, or omit the source to use generated photos."
        )
    return np.stack(pixels)


def _extract(paths: list[str], resolved: Resolved) -> None:
    rows = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    extract_into(rows, paths, resolved, cache=None, raise_on_error=False)


def _measure_keras(paths: list[str], resolved: Resolved, pixels: AnyArray) -> tuple[dict[str, float], AnyArray]:
    """Return the rates of tf.data and model.predict, and the features of these pixels."""
    assert isinstance(resolved.backbone, KerasBackbone)
    with temporary_folder() as folder:
        np.save(folder / "pixels.npy", pixels, allow_pickle=False)
        task = {
            "backbone": dataclasses.asdict(resolved.backbone),
            "recipe": resolved.recipe.as_dict(),
            "weights_path": str(resolved.weights_path) if resolved.weights_path else None,
            "paths": paths,
            "folder": str(folder),
        }
        run_child(
            "featx.backbones.workers.keras_reference",
            task,
            f"measuring {resolved.recipe.backbone!r} with tf.data and model.predict",
            "Use fewer or other images, or reinstall tensorflow.",
        )
        rates: dict[str, float] = json.loads((folder / "rates.json").read_text())
        return rates, np.load(folder / "rows.npy", allow_pickle=False)


def _rate(n_images: int, run: Callable[[], object]) -> float:
    """Return images per second: the median of a few runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return n_images / statistics.median(seconds)
