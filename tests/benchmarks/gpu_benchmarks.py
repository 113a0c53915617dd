"""Benchmark of a GPU: the network alone, decoding alone, and from files to features."""

from __future__ import annotations

import importlib.util

from featx.extraction.engines.onnx_runtime.device import resolve_device
from tests.benchmarks.extraction_benchmarks import random_weights
from tests.benchmarks.harness import Environment, Measurement, benchmark

#: Networks, and the application of Keras that makes their random weights.
_NETWORKS = {"mobilenet": "", "resnet50": "resnet.ResNet50", "timm/vit_base_patch16_224": ""}


@benchmark("gpu", default=False)
def gpu(environment: Environment) -> list[Measurement]:
    """Network, decoding and both on a GPU: MobileNet, ResNet50, ViT-B/16. Without a GPU, a trial on the CPU."""
    device = resolve_device("auto", "onnxruntime", "float16")
    return measure_device(environment, device, n_photos=64 if device == "cpu" else 4000)


def measure_device(
    environment: Environment, device: str, n_photos: int, networks: tuple[str, ...] = tuple(_NETWORKS)
) -> list[Measurement]:
    where = "no GPU here, a trial on the CPU" if device == "cpu" else f"on {device}"
    paths = environment.photos(n_photos)
    measurements = []
    for network in networks:
        name, description = f"gpu/{network.split('/')[-1]}", f"{network}, images/s from files to features, {where}"
        if network.startswith("timm/") and importlib.util.find_spec("timm") is None:
            measurements.append(Measurement(name, description, None, details="not installed: timm"))
            continue
        application = _NETWORKS[network]
        weights = random_weights(environment.folder, application, network) if application else None
        options = {"backbone": network, "weights": "imagenet" if network == "mobilenet" else weights}
        options |= {"engine": "onnxruntime", "device": device}
        cache = environment.new_cache({**options, "precision": "float32"})
        for precision in ("float16", "float32"):
            run = environment.run("device_rates", paths=paths, options={**options, "precision": precision}, cache=cache)
            details = (
                f"{precision}: network {run['network']:.0f}, decoding {run['decoding']:.0f} images/s, cosine to "
                f"float32 on the CPU {run['cosine']:.5f}, {run['batch_size']} images a batch"
            )
            measurements.append(
                Measurement(f"{name}-{precision}", description, round(run["pipeline"], 1), details=details)
            )
    return measurements
