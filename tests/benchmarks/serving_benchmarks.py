"""Benchmarks of serving a model, and of what a single image costs."""

from __future__ import annotations

from typing import Any

from featx.extraction.engines.engine import has_native_bfloat16
from tests.benchmarks.harness import Environment, Measurement, at_least, at_most, benchmark, median_run


def _trained(environment: Environment) -> tuple[str, str]:
    """Return the paths of a trained model and of a cache with its compiled network."""
    cache, model = environment.new_cache({}), str(environment.folder / "served.skops")
    environment.run("train_model", paths=environment.photos(1100)[:100], cache=cache, output=model)
    return model, environment.new_cache({})


@benchmark("serve-start")
def serve_start(environment: Environment) -> list[Measurement]:
    """What a process costs until it has predicted its first image, from a model with its graph."""
    model, _ = _trained(environment)
    runs = [
        environment.run("serve_start", paths=environment.photos(1100)[:1], model=model)
        for _ in range(environment.n_runs)
    ]
    run = median_run(runs, lambda run: run["seconds"])
    return [
        at_most("serve-start/time", "processor time until a predictor is warm, with imports", run["seconds"], 1.0, "s"),
        at_most("serve-start/memory", "memory after its first image", run["memory"], 200, "MB, at its peak"),
    ]


@benchmark("serve-one")
def serve_one(environment: Environment) -> list[Measurement]:
    """One image from bytes to label, against its exported model in ONNX Runtime."""
    model, cache = _trained(environment)
    runs = [
        environment.run(
            "serve_one", paths=environment.photos(1100)[:320], model=model, cache=cache, folder=str(environment.folder)
        )
        for _ in range(environment.n_runs)
    ]
    run = median_run(runs, lambda run: run["featx"] / run["onnxruntime"])
    ratio = run["featx"] / run["onnxruntime"]
    details = f"{run['featx']:.1f} vs. {run['onnxruntime']:.1f} ms"
    description = "time of one JPEG of 500 × 375 from bytes to label, relative to Pillow and ONNX Runtime"
    return [at_most("serve-one", description, ratio, 1.5, details)]


@benchmark("serve-threads")
def serve_threads(environment: Environment) -> list[Measurement]:
    """Eight threads that predict image by image, against one call; both without a cache."""
    model, _ = _trained(environment)
    runs = [
        environment.run("serve_threads", paths=environment.photos(1100), model=model, n_threads=8)
        for _ in range(environment.n_runs)
    ]
    run = median_run(runs, lambda run: run["threads"] / run["batch"])
    ratio = run["threads"] / run["batch"]
    details = f"{run['threads']:.0f} vs. {run['batch']:.0f} images/s"
    description = "rate of eight threads that share a predictor, relative to one call with all images"
    return [at_least("serve-threads", description, ratio, 0.8, details)]


@benchmark("serve-large")
def serve_large(environment: Environment) -> list[Measurement]:
    """Small images while another thread sends photographs of 12 megapixels, against the same without them."""
    model, _ = _trained(environment)
    runs = [
        environment.run("serve_large", paths=environment.photos(1100)[:320], model=model)
        for _ in range(environment.n_runs)
    ]
    run = median_run(runs, lambda run: run["together"] / run["alone"])
    ratio = run["together"] / run["alone"]
    details = f"{run['together']:.1f} vs. {run['alone']:.1f} ms"
    description = "time of a small image while a thread sends photographs of 12 megapixels, relative to none"
    return [at_most("serve-large", description, ratio, 4.0, details)]


@benchmark("serve-http")
def serve_http(environment: Environment) -> list[Measurement]:
    """The FastAPI application of the how-to page under eight clients, every tenth image broken."""
    model, _ = _trained(environment)
    folder = environment.folder / "service"
    folder.mkdir(exist_ok=True)
    run = environment.run(
        "serve_http", paths=environment.photos(1100), model=model, folder=str(folder), seconds=300.0, n_clients=8
    )
    early, late = run["memory"]
    details = (
        f"{run['rate']:.0f} vs. {run['batch']:.0f} images/s ({min(run['batches']):.0f} to {max(run['batches']):.0f}); "
        f"p50 {run['p50']:.0f}, p95 {run['p95']:.0f} ms; "
        f"{run['wrong']} wrong answers; memory {early} to {late} MB"
    )
    description = "rate of valid images over HTTP, relative to one call with all images in the same process"
    is_sound = run["wrong"] == 0 and late < 1.1 * early
    return [at_least("serve-http", description, run["rate"] / run["batch"], 0.8, details, ok=is_sound)]


@benchmark("single-image")
def single_image(environment: Environment) -> list[Measurement]:
    """Network alone on one, two and four images, against a batch of eight."""
    measurements = []
    for precision in ["float32", *(["bfloat16"] if has_native_bfloat16() else []), "int8"]:
        options = {"precision": precision}
        runs = [
            environment.run("single_image", options=options, cache=environment.new_cache(options))
            for _ in range(environment.n_runs)
        ]
        is_equal = all(run["equal"] for run in runs)
        for size, target in ((1, 0.25), (2, 0.5), (4, 1.0)):

            def share(run: dict[str, Any], size: int = size) -> float:
                return float(run["milliseconds"][str(size)] / run["milliseconds"]["8"])

            run = median_run(runs, share)
            details = (
                f"{run['milliseconds'][str(size)]:.1f} vs. {run['milliseconds']['8']:.1f} ms; the same rows: {is_equal}"
            )
            description = f"time of MobileNet ({precision}) for {size}, relative to eight"
            name = f"single-image/{precision}{'' if size == 1 else f'-{size}'}"
            measurements.append(at_most(name, description, share(run), target, details, ok=is_equal))
    return measurements


@benchmark("resize")
def resize(environment: Environment) -> list[Measurement]:
    """Resize of photographs against Pillow."""
    runs = [environment.run("resize_images", paths=environment.photos(200)) for _ in range(environment.n_runs)]
    run = median_run(runs, lambda run: run["pillow"] / run["featx"])
    ratio = run["pillow"] / run["featx"]
    details = f"{run['featx']:.2f} vs. {run['pillow']:.2f} ms; values differ by at most {run['difference']}"
    description = "speedup over Pillow: resize of 500 × 375 to 224 × 224, one thread"
    return [at_least("resize", description, ratio, 2.5, details, ok=all(run["difference"] <= 1 for run in runs))]
