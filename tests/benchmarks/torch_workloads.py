"""Workloads of networks of timm: torch and OpenVINO alternately, in one process."""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Callable
from typing import Any

_BATCH_SIZE = 8


def network_beside_torch(model: str, precision: str, n_pairs: int = 5) -> dict[str, Any]:
    """Return images/s of OpenVINO and of torch, of the pair with the median ratio, and shares of OpenVINO's time.

    torch uses inference_mode, channels_last, and bfloat16 by autocast.
    """
    import numpy as np
    import openvino
    import timm  # type: ignore[import-not-found]  # optional peer
    import torch  # type: ignore[import-not-found]  # optional peer

    network = timm.create_model(model, pretrained=False, num_classes=0).eval()
    images = torch.randn((_BATCH_SIZE, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        graph = openvino.convert_model(network, example_input=images)
    graph.reshape(list(images.shape))
    settings = {"INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision]}
    settings |= {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    pixels = np.asarray(images)
    fast = network.to(memory_format=torch.channels_last)
    batch = images.contiguous(memory_format=torch.channels_last)

    def by_torch() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            fast(batch)

    def by_openvino() -> None:
        request.infer([pixels], share_outputs=True)

    pairs = [(_seconds(by_openvino), _seconds(by_torch)) for _ in range(n_pairs)]
    middle = statistics.median_low(theirs / ours for ours, theirs in pairs)
    ours, theirs = next(pair for pair in pairs if pair[1] / pair[0] == middle)
    spent: collections.Counter[str] = collections.Counter()
    for node in request.profiling_info:
        spent[node.node_type] += node.real_time.total_seconds()
    shares = {kind: round(seconds / sum(spent.values()), 2) for kind, seconds in spent.most_common(4)}
    return {"openvino": _BATCH_SIZE / ours, "torch": _BATCH_SIZE / theirs, "ratio": middle, "shares": shares}


def _seconds(run: Callable[[], None]) -> float:
    """Return the shortest of three runs, after one that does not count."""
    run()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
