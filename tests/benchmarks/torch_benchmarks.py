"""Benchmark of networks of timm, without files: OpenVINO beside torch."""

from __future__ import annotations

import importlib.util

from featx.extraction.engines.engine import has_native_bfloat16
from tests.benchmarks.harness import Environment, Measurement, benchmark

_NETWORKS = ("resnet50", "convnext_tiny", "vit_base_patch16_siglip_224")


@benchmark("torch-networks", default=False)
def torch_networks(environment: Environment) -> list[Measurement]:
    """Networks of timm alone, by OpenVINO against torch: ResNet50, ConvNeXt, SigLIP; needs a minute for each."""
    measurements = []
    for network in _NETWORKS:
        name, description = f"torch-networks/{network}", f"{network} alone, speedup of OpenVINO over torch"
        if missing := [package for package in ("torch", "timm") if importlib.util.find_spec(package) is None]:
            details = f"not installed: {', '.join(missing)}"
            measurements.append(Measurement(name, description, None, details=details))
            continue
        precision = "bfloat16" if has_native_bfloat16() else "float32"
        run = environment.run("network_beside_torch", model=network, precision=precision)
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in run["shares"].items())
        details = f"{precision}: {run['openvino']:.1f} against {run['torch']:.1f} images/s; {shares}"
        measurements.append(Measurement(name, description, round(run["ratio"], 2), details=details))
    return measurements
