"""Workloads of the benchmarks, each run in a fresh process: ``python -m tests.benchmarks.workloads NAME < JSON``."""

from __future__ import annotations

import functools
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import comparison_workloads, serving_workloads, torch_workloads


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def extract_files(paths: list[str], options: dict[str, Any], cache: str, output: str, start: bool) -> dict[str, Any]:
    """Extract files to a matrix on disk with a compiled network. `start` loads it before the measurement."""
    from featx.datasets.image_table import ImageTable
    from featx.extraction.options import ExtractionOptions
    from featx.extraction.writing.table_to_file import extract_to_file

    resolved = ExtractionOptions(**options).resolve()
    table = ImageTable(paths, [None] * len(paths))
    if start:
        resolved.start(Path(cache) / "compiled")
    started = time.perf_counter()
    summary = extract_to_file(table, resolved, Path(output), cache=Path(cache))
    seconds = time.perf_counter() - started
    heavy = sorted({"tensorflow", "keras", "openvino"} & set(sys.modules))
    return {"seconds": seconds, "computed": summary.computed, "imported": heavy, "precision": summary.precision}


def run_network(backbone: str, weights: str, precisions: list[str], cache: str) -> dict[str, Any]:
    """Run a network alone on pixels in memory, precisions alternate, several times."""
    from featx.extraction.engines.calibration import calibration_pixels, whole_photographs
    from featx.extraction.options import ExtractionOptions
    from featx.features.search.cosine import mean_cosine

    pixels, photographs = calibration_pixels((224, 224))[::2], whole_photographs((224, 224))
    networks = {
        precision: ExtractionOptions(backbone, weights=weights, precision=precision).resolve().start(Path(cache))
        for precision in precisions
    }
    rows = {precision: network(photographs) for precision, network in networks.items()}
    seconds: dict[str, list[float]] = {precision: [] for precision in precisions}
    for _ in range(5):
        for precision, network in networks.items():
            seconds[precision].append(_timed(functools.partial(network, pixels)))
    cosine = mean_cosine(rows["int8"], rows["float32"])
    return {"rates": {name: len(pixels) / min(times) for name, times in seconds.items()}, "cosine": cosine}


def device_rates(paths: list[str], options: dict[str, Any], cache: str) -> dict[str, Any]:
    """Run a network alone on a device, decode alone, and do both; and compare rows with those of OpenVINO."""
    from featx.extraction.extract import extract_into
    from featx.extraction.options import ExtractionOptions
    from featx.extraction.prefetch import Decoded, ReadOptions, prefetch
    from featx.features.search.cosine import mean_cosine

    compiled = Path(cache) / "compiled"
    resolved = ExtractionOptions(**options).resolve()
    engine = resolved.start(compiled)
    read = ReadOptions(resolved.recipe.image_size, resolved.recipe.resize, n_ahead=2 * resolved.batch_size)

    def decode() -> list[Any]:
        return [item.pixels for item in prefetch(paths, range(len(paths)), read) if isinstance(item, Decoded)]

    pixels = np.stack(decode()[: 8 * resolved.batch_size])
    rows = engine(pixels)
    reference = {**options, "engine": "openvino", "device": "cpu", "precision": "float32"}
    expected = ExtractionOptions(**reference).resolve().start(compiled)(pixels[:32])
    out = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    return {
        "network": len(pixels) / min(_timed(lambda: engine(pixels)) for _ in range(3)),
        "decoding": len(paths) / min(_timed(decode) for _ in range(3)),
        "pipeline": len(paths) / min(_timed(lambda: extract_into(out, paths, resolved, cache=None)) for _ in range(3)),
        "cosine": mean_cosine(rows[:32], expected),
        "batch_size": resolved.batch_size,
    }


def train_model(paths: list[str], cache: str, output: str) -> dict[str, Any]:
    """Train a model of two classes, to predict with."""
    from featx import train_images

    y = [f"class {index % 2}" for index in range(len(paths))]
    started = time.perf_counter()
    train_images(paths, y, duplicate_groups=False, cv=2, cache=cache).save(output)
    return {"seconds": time.perf_counter() - started}


def predict(paths: list[str], model: str, cache: str) -> dict[str, Any]:
    """Predict labels; ``all`` includes the imports of featx."""
    started = time.perf_counter()
    from featx.models.predictor import Predictor

    predictor = Predictor(model, cache=cache)
    opened = time.perf_counter()
    predictions = predictor.predict_each(paths)
    seconds = time.perf_counter() - opened
    return {
        "seconds": seconds,
        "all": time.perf_counter() - started,
        "labeled": sum(bool(prediction.label) for prediction in predictions),
    }


def run_shards(paths: list[str], cache: str, folder: str, shard_size: int, backend: str) -> dict[str, Any]:
    """Run a job. Planning is not measured; the start of workers is."""
    from featx import plan_job, run_job

    table_path = Path(folder, "photos.csv")
    table_path.write_text("\n".join(["path", *paths]) + "\n")
    planned = _timed(lambda: plan_job(table_path, Path(folder, "job"), shard_size=shard_size, sample=0, cache=cache))
    started = time.perf_counter()
    run = run_job(Path(folder, "job"), backend=backend, cache=cache)
    assert run.computed == len(paths), run
    return {"seconds": time.perf_counter() - started, "planned": planned, "computed": run.computed}


def plan_images(paths: list[str], folder: str) -> dict[str, Any]:
    """Plan a job from a CSV file without reading images."""
    from featx import plan_job

    table_path = Path(folder, "photos.csv")
    table_path.write_text("\n".join(["path", *paths]) + "\n")
    planning = _timed(lambda: plan_job(table_path, Path(folder, "job"), sample=0, cache=None))
    return {"seconds": planning}


def write_finished_job(folder: str, shards: int, rows: int, features: int) -> dict[str, Any]:
    """Write a finished job in the file format of jobs."""
    import hashlib
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    from featx.features.job_files import FORMAT

    (Path(folder) / "shards").mkdir(parents=True)
    random = np.random.default_rng(0)
    facts = {"format": FORMAT, "job": "0", "fingerprint": "f00d", "rows": rows, "computed": rows}
    facts |= {"cached": 0, "failed": 0, "padded": 0, "changed": 0, "seconds": 1.0}
    for shard in range(shards):
        buffer = io.BytesIO()
        np.save(buffer, random.random((rows, features), dtype=np.float32))
        checksum = hashlib.blake2b(buffer.getvalue(), digest_size=16).hexdigest()
        (Path(folder) / "shards" / f"{shard:08}-{checksum}.npy").write_bytes(buffer.getvalue())
        digests = random.bytes(16 * rows).hex()
        columns = {
            "path": [f"photos/{shard % 100:03}/{number:09}.jpg" for number in range(shard * rows, (shard + 1) * rows)],
            "label": [f"{shard % 100:03}"] * rows,
            "digest": [digests[start : start + 32] for start in range(0, 32 * rows, 32)],
            "status": ["done"] * rows,
            **dict.fromkeys(("reason", "error"), pa.nulls(rows, pa.string())),
        }
        footer = json.dumps({**facts, "shard": shard, "checksum": checksum})
        pq.write_table(
            pa.table(columns).replace_schema_metadata({"featx": footer}), Path(folder, "shards", f"{shard:08}.parquet")
        )
    manifest = {"format": FORMAT, "id": "0", "featx": "0", "recipe": {"backbone": "none"}, "fingerprint": "f00d"}
    manifest |= {"n_features": features, "options": {}, "source": [], "folder": "/", "labels": "str"}
    manifest |= {"shard_size": rows, "n_images": shards * rows, "n_shards": shards, "shards_per_file": 1000}
    manifest |= {"source_options": {}, "listed": "", "splits": {}, "has_groups": False}
    Path(folder, "job.json").write_text(json.dumps(manifest))
    return {}


def merge_finished_job(folder: str, output: str) -> dict[str, Any]:
    """Merge a job into one matrix."""
    from featx import merge_job

    return {"seconds": _timed(lambda: merge_job(folder, output))}


def open_job(folder: str) -> dict[str, Any]:
    """Read the status of a job and open its features."""
    from featx import job_status, open_features

    status = _timed(lambda: job_status(folder))
    return {"seconds": status, "opened": _timed(lambda: open_features(folder)[:10])}


def extract_rows(paths: list[str], options: dict[str, Any], cache: str) -> dict[str, Any]:
    """Extract files to rows in memory."""
    from featx.extraction.extract import extract_into
    from featx.extraction.options import ExtractionOptions

    resolved = ExtractionOptions(**options).resolve()
    rows = np.empty((len(paths), resolved.n_features), dtype=np.float32)
    started = time.perf_counter()
    ledger = extract_into(rows, paths, resolved, cache=Path(cache))
    seconds = time.perf_counter() - started
    heavy = sorted({"tensorflow", "keras", "openvino"} & set(sys.modules))
    return {"seconds": seconds, "computed": ledger.n_computed, "imported": heavy}


def _keras_network(application: str) -> tuple[Any, Any]:
    import keras

    module_name, function = application.split(".")
    module = getattr(keras.applications, module_name)
    network = getattr(module, function)(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg")
    return network, module.preprocess_input


def tf_data(paths: list[str], application: str) -> dict[str, Any]:
    """Run tf.data with AUTOTUNE, batches of 32 and prefetching, then model.predict."""
    import tensorflow as tf

    network, preprocess_input = _keras_network(application)

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return preprocess_input(tf.image.resize(image, (224, 224)))

    images = (
        tf.data.Dataset.from_tensor_slices(paths)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(32)
        .prefetch(tf.data.AUTOTUNE)
    )
    network.predict(images.take(2), verbose=0)  # compilation is not measured
    return {"seconds": _timed(lambda: network.predict(images, verbose=0))}


def load_img(paths: list[str], application: str) -> dict[str, Any]:
    """Load images one by one with keras.utils.load_img, then run model.predict in batches of 32."""
    import keras

    network, preprocess_input = _keras_network(application)
    network.predict(np.zeros((32, 224, 224, 3), dtype=np.float32), verbose=0)

    def run() -> None:
        for start in range(0, len(paths), 32):
            batch = [
                keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224)))
                for path in paths[start : start + 32]
            ]
            network.predict(preprocess_input(np.stack(batch)), verbose=0)

    return {"seconds": _timed(run)}


def timm(paths: list[str], model: str) -> dict[str, Any]:
    """Run timm with a DataLoader of two workers, inference_mode, bfloat16 autocast and channels_last."""
    import PIL.Image
    import timm as timm_models  # type: ignore[import-not-found]  # optional peer
    import torch  # type: ignore[import-not-found]  # optional peer

    network = timm_models.create_model(model, pretrained=False, num_classes=0).eval()
    network = network.to(memory_format=torch.channels_last)

    class Photos(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, at: int) -> Any:
            with PIL.Image.open(paths[at]) as image:
                pixels = np.asarray(image.convert("RGB").resize((224, 224), PIL.Image.Resampling.BILINEAR))
            return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)

    loader = torch.utils.data.DataLoader(Photos(), batch_size=32, num_workers=2)

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for batch in loader:
                network(batch.contiguous(memory_format=torch.channels_last))

    return {"seconds": _timed(run)}


def _hundred_classes() -> tuple[Any, Any]:
    """Return 8,000 × 1,024 non-negative features in 100 overlapping classes."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 80)
    hidden = random.normal(size=(100, 64))[y] * 0.5 + random.normal(size=(8000, 64))
    X = hidden @ random.normal(size=(64, 1024)) / 8 + 0.3 * random.normal(size=(8000, 1024))
    return np.maximum(X, 0).astype(np.float32), y


def compare_featx() -> dict[str, Any]:
    """Run compare_baselines on a matrix."""
    from featx import compare_baselines

    X, y = _hundred_classes()
    started = time.perf_counter()
    table = compare_baselines(X, y, estimators=["logreg", "svm", "knn"]).table
    scores = dict(zip(table["estimator"], table["accuracy_mean"], strict=True))
    return {"seconds": time.perf_counter() - started, "scores": scores}


def compare_plain() -> dict[str, Any]:
    """Run cross_validate with the same estimators and folds."""
    from sklearn.model_selection import StratifiedKFold, cross_validate

    from featx.baselines.estimators import make_baseline

    X, y = _hundred_classes()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = {}
    started = time.perf_counter()
    for name in ("logreg", "svm", "knn"):
        results = cross_validate(make_baseline(name), X, y, cv=folds, scoring=("accuracy", "f1_macro"))
        scores[name] = float(results["test_accuracy"].mean())
    return {"seconds": time.perf_counter() - started, "scores": scores}


def compare_diagnostics(folder: str) -> dict[str, Any]:
    """Run compare_images on the matrix with 200 duplicates, and compare_baselines alone."""
    import PIL.Image

    from featx import DirectBackbone, FeatureExtractor, compare_baselines, compare_images, register_backbone

    X, y = _hundred_classes()
    X[::40] = 1.001 * X[1::40]

    class Matrix(DirectBackbone):
        name, version, image_size = "matrix", 1, 2

        def n_features(self, pooling: str) -> int:
            return X.shape[1]

        def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.asarray(X[pixels[:, 0, 0, :2].astype(int) @ [1, 256]])

    register_backbone(Matrix())
    paths = [f"{folder}/{number}.png" for number in range(len(X))]
    for number, path in enumerate(paths):
        PIL.Image.new("RGB", (2, 2), (number % 256, number // 256, 0)).save(path)
    names, cache = ["logreg", "svm", "knn"], f"{folder}/cache"
    FeatureExtractor("matrix", cache=cache).fit_transform(paths)
    started = time.perf_counter()
    compare_baselines(X, y, estimators=names)
    plain = time.perf_counter() - started
    started = time.perf_counter()
    compare_images(paths, y, backbones=["matrix"], estimators=names, cache=cache)
    return {"seconds": plain, "diagnostics": time.perf_counter() - started - plain}


def fill_store(cache: str, rows: int, segments: int) -> dict[str, Any]:
    """Write a store of rows of 4 features in large segments."""
    import uuid

    from featx.store.segments import write_segment

    folder = Path(cache) / "features" / ("0" * 16)
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for _ in range(segments):
        digests = random.integers(0, 256, (rows // segments, 16), dtype=np.uint8)
        write_segment(folder / f"{uuid.uuid4().hex}.json", digests, np.zeros((len(digests), 4), dtype=np.float32))
    return {}


def open_store(cache: str) -> dict[str, Any]:
    """Open a store and look up 100,000 digests, half of which are stored."""
    from featx.store.store import Store

    started = time.perf_counter()
    store = Store(Path(cache), "0" * 16, {}, 4)
    opened = time.perf_counter() - started
    random = np.random.default_rng(1)
    digests = random.integers(0, 256, (100_000, 16), dtype=np.uint8)
    known = np.concatenate([segment.digests[:50] for segment in store.segments])[:50_000]
    digests[: len(known)] = known
    random.shuffle(digests)
    started = time.perf_counter()
    positions = store.find(digests)
    lookup = time.perf_counter() - started
    assert (positions >= 0).sum() == len(known)
    return {"seconds": opened, "lookup": lookup, "bytes_per_row": store.index_bytes / len(store)}


WORKLOADS: dict[str, Callable[..., dict[str, Any]]] = {
    side.__name__: side
    for side in (
        extract_files,
        extract_rows,
        run_network,
        run_shards,
        plan_images,
        write_finished_job,
        merge_finished_job,
        open_job,
        train_model,
        device_rates,
        predict,
        tf_data,
        load_img,
        timm,
        compare_featx,
        compare_plain,
        compare_diagnostics,
        fill_store,
        open_store,
        comparison_workloads.compare_mixture,
        comparison_workloads.cross_val_scores,
        comparison_workloads.estimate_folds,
        serving_workloads.serve_one,
        serving_workloads.serve_start,
        serving_workloads.serve_threads,
        serving_workloads.serve_large,
        serving_workloads.serve_http,
        serving_workloads.single_image,
        serving_workloads.resize_images,
        torch_workloads.network_beside_torch,
    )
}

if __name__ == "__main__":
    measured = WORKLOADS[sys.argv[1]](**json.load(sys.stdin))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    measured["peak_mb"] = usage.ru_maxrss / 1024
    measured["processor_seconds"] = usage.ru_utime + usage.ru_stime
    print(json.dumps(measured))
