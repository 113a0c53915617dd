"""Workloads of the benchmarks of serving: single images, threads, and the resize."""

from __future__ import annotations

import functools
import http.client
import io
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

#: Parts of the load over HTTP, between which one call is measured.
_PARTS = 5


def _alternate(functions: dict[str, Callable[[Any], object]], items: list[Any], n_warm_up: int = 0) -> dict[str, float]:
    """Return the median milliseconds of functions that take turns, ten items each.

    With one item each, idle threads of one library that wait actively would slow the other down.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for start in range(0, len(items), 10):
        for name, function in functions.items():
            for item in items[start : start + 10]:
                started = time.perf_counter()
                function(item)
                seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(values[n_warm_up:]) for name, values in seconds.items()}


_START = """
import sys, time
from pathlib import Path
from featx import Predictor
predictor = Predictor(sys.argv[1], cache=None).warm_up()
print(time.process_time())
predictor.predict_one(Path(sys.argv[2]).read_bytes())
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def serve_start(paths: list[str], model: str) -> dict[str, Any]:
    """Measure the processor time of a fresh process until its predictor is warm, and its memory in MB."""
    command = [sys.executable, "-c", _START, model, *paths]
    seconds, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"seconds": float(seconds), "memory": int(kilobytes) / 1024}


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

    def run_featx(data: bytes) -> object:
        return predictor.predict_each([data])

    images = [Path(path).read_bytes() for path in paths]
    return _alternate({"featx": run_featx, "onnxruntime": run_onnx}, images, n_warm_up=20)


def serve_threads(paths: list[str], model: str, n_threads: int) -> dict[str, Any]:
    """Time images that threads predict one by one, and the same number of images in one call, without a cache."""
    from featx import Predictor

    predictor = Predictor(model, cache=None).warm_up()
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


def serve_large(paths: list[str], model: str) -> dict[str, Any]:
    """Time small images of two threads alone, and while a third sends a photograph of 12 megapixels again and again."""
    import PIL.Image

    from featx import Predictor

    predictor = Predictor(model, cache=None).warm_up()
    images = [Path(path).read_bytes() for path in paths]
    buffer = io.BytesIO()
    PIL.Image.open(paths[0]).convert("RGB").resize((4000, 3000)).save(buffer, "JPEG")
    has_ended = threading.Event()

    def send_large() -> None:
        while not has_ended.is_set():
            predictor.predict_one(buffer.getvalue())

    def send_small(data: bytes) -> float:
        started = time.perf_counter()
        predictor.predict_one(data)
        return 1000 * (time.perf_counter() - started)

    with ThreadPoolExecutor(2) as small, ThreadPoolExecutor(1) as other:
        list(small.map(send_small, images[:20]))
        alone = list(small.map(send_small, images[20:]))
        large = other.submit(send_large)
        together = list(small.map(send_small, images[20:]))
        has_ended.set()
        large.result()
    return {"alone": statistics.median(alone), "together": statistics.median(together)}


def single_image(options: dict[str, Any], cache: str) -> dict[str, Any]:
    """Time the network on one, two, four and eight images, in milliseconds; the sizes alternate."""
    from featx.extraction.options import ExtractionOptions

    engine = ExtractionOptions(**options).resolve().start(Path(cache) / "compiled")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 224, 224, 3), dtype=np.uint8)
    for batch in images[:5]:
        engine(batch), engine(batch[:1])
    sizes = (1, 2, 4, 8)
    equal = all(np.array_equal(engine(batch[:size]), engine(batch)[:size]) for batch in images[:5] for size in sizes)
    runs = {str(size): functools.partial(_first, engine, size) for size in sizes}
    return {"milliseconds": _alternate(runs, list(images)), "equal": equal}


def _first(engine: Callable[[Any], Any], size: int, batch: Any) -> Any:
    return engine(batch[:size])


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
    pairs = list(zip(pixels, images, strict=True))
    milliseconds = _alternate(
        {
            "featx": lambda pair: resize_image(pair[0], size, "squash"),
            "pillow": lambda pair: pair[1].resize(size, bilinear),
        },
        pairs,
    )
    return {**milliseconds, "difference": difference}


def serve_http(paths: list[str], model: str, folder: str, seconds: float, n_clients: int) -> dict[str, Any]:
    """Load the application of the how-to page with clients whose every tenth image is broken.

    The rate of one call with the same images is measured before, between and after parts of the load, since the speed
    of a machine changes within minutes.

    Returns the rates of valid images and of one call, latencies in milliseconds, the number of wrong answers, and the
    memory of the server in MB after a tenth of the time and at the end.
    """
    from featx import Predictor

    images = [Path(path).read_bytes() for path in paths]
    shutil.copy(model, f"{folder}/model.skops")
    page = (
        Path(__file__).parents[2] / "docs/how_to/serve.md"
    ).read_text()  # the first of its blocks is the application
    Path(folder, "app.py").write_text(re.findall(r"^```py\n(.*?)^```", page, flags=re.M | re.S)[0])
    predictor = Predictor(model, cache=None).warm_up()
    predictor.predict_each(images[:64])
    rates_of_batch, runs = [_rate_of_one_call(predictor, images)], []
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", "8791", "--log-level", "critical"], cwd=folder
    ) as server:
        try:
            _wait_for_server(8791)
            with ThreadPoolExecutor(n_clients + 1) as threads:
                early = threads.submit(_memory_after, server.pid, seconds / 10)
                for _ in range(_PARTS):
                    until = time.perf_counter() + seconds / _PARTS
                    post = functools.partial(_post_until, images=images, until=until)
                    runs += threads.map(post, range(n_clients))
                    rates_of_batch.append(_rate_of_one_call(predictor, images))
            milliseconds = sorted(value for run in runs for value in run[0])
            return {
                "rate": len(milliseconds) / seconds,
                "batch": statistics.mean(rates_of_batch),
                "batches": rates_of_batch,
                "p50": statistics.median(milliseconds),
                "p95": milliseconds[int(0.95 * len(milliseconds))],
                "wrong": sum(run[1] for run in runs),
                "memory": [early.result(), _memory_after(server.pid, 0)],
            }
        finally:
            server.terminate()


def _rate_of_one_call(predictor: Any, images: list[bytes]) -> float:
    started = time.perf_counter()
    predictor.predict_each(images)
    return len(images) / (time.perf_counter() - started)


def _wait_for_server(port: int) -> None:
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def _memory_after(pid: int, seconds: float) -> int:
    time.sleep(seconds)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


def _post_until(client: int, images: list[bytes], until: float) -> tuple[list[float], int]:
    """Return the latencies of valid images, and the number of wrong answers."""
    connection = http.client.HTTPConnection("127.0.0.1", 8791, timeout=60)
    milliseconds: list[float] = []
    n_wrong, number = 0, client * 97
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    while time.perf_counter() < until:
        number += 1
        data, expected = images[number % len(images)], 200
        if number % 10 == 0:
            data, expected = data[:200], 422
        started = time.perf_counter()
        connection.request("POST", "/predict", head + data + b"\r\n--x--\r\n", headers)
        response = connection.getresponse()
        response.read()
        n_wrong += response.status != expected
        if expected == 200:
            milliseconds.append(1000 * (time.perf_counter() - started))
    connection.close()
    return milliseconds, n_wrong
