"""Workloads of the benchmarks of serving: single images, threads, and the resize."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def _median_milliseconds(function: Callable[[Any], object], items: list[Any]) -> float:
    seconds = []
    for item in items:
        started = time.perf_counter()
        function(item)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def serve_one(paths: list[str], model: str, cache: str, folder: str) -> dict[str, Any]:
    """Time one image from bytes to label, by a predictor and by ONNX Runtime with the model that it exports."""
    import onnxruntime
    import PIL.Image

    from featx import Predictor, export_model

    predictor = Predictor(model, cache=cache)
    export_model(model, f"{folder}/model.onnx", cache=cache)
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    name = session.get_inputs()[0].name
    height, width = predictor.model.card.recipe["image_size"]

    def run_onnx(data: bytes) -> object:
        image = PIL.Image.open(io.BytesIO(data)).convert("RGB")
        return session.run(None, {name: np.asarray(image.resize((width, height), PIL.Image.Resampling.BILINEAR))[None]})

    images = [Path(path).read_bytes() for path in paths]
    warm_up, images = images[:20], images[20:]
    milliseconds = {}
    for side, function in (("featx", lambda data: predictor.predict_each([data])), ("onnxruntime", run_onnx)):
        _median_milliseconds(function, warm_up)
        milliseconds[side] = _median_milliseconds(function, images)
    return milliseconds


def serve_threads(paths: list[str], model: str, cache: str, n_threads: int) -> dict[str, Any]:
    """Time images that threads predict one by one, and the same number of images in one call."""
    from featx import Predictor

    predictor = Predictor(model, cache=cache)
    images = [Path(path).read_bytes() for path in paths]
    first, second = images[20 : (len(images) + 20) // 2], images[(len(images) + 20) // 2 :]
    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(lambda data: predictor.predict_each([data]), images[:20]))
        started = time.perf_counter()
        list(threads.map(lambda data: predictor.predict_each([data]), first))
        rate_of_threads = len(first) / (time.perf_counter() - started)
    started = time.perf_counter()
    predictor.predict_each(second)
    return {"threads": rate_of_threads, "batch": len(second) / (time.perf_counter() - started)}


def lone_image(options: dict[str, Any], cache: str) -> dict[str, Any]:
    """Time the network on a lone image and on a batch of eight, in milliseconds."""
    from featx.extraction.options import ExtractionOptions

    engine = ExtractionOptions(**options).resolve().start(Path(cache) / "compiled")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 224, 224, 3), dtype=np.uint8)
    for batch in images[:5]:
        engine(batch), engine(batch[:1])
    equal = all(np.array_equal(engine(batch[:1]), engine(batch)[:1]) for batch in images[:5])
    return {
        "one": _median_milliseconds(lambda batch: engine(batch[:1]), list(images)),
        "eight": _median_milliseconds(engine, list(images)),
        "equal": equal,
    }


def resize_images(paths: list[str]) -> dict[str, Any]:
    """Time the resize of decoded photographs to 224 × 224, by featx and by Pillow, in milliseconds."""
    import PIL.Image

    from featx.images.resize import resize_image

    images = [PIL.Image.open(path).convert("RGB") for path in paths]
    pixels = [np.asarray(image) for image in images]
    size, bilinear = (224, 224), PIL.Image.Resampling.BILINEAR
    difference = max(
        int(np.abs(resize_image(array, size, "squash").astype(int) - image.resize(size, bilinear)).max())
        for array, image in zip(pixels, images, strict=True)
    )
    return {
        "featx": _median_milliseconds(lambda array: resize_image(array, size, "squash"), pixels),
        "pillow": _median_milliseconds(lambda image: image.resize(size, bilinear), images),
        "difference": difference,
    }
