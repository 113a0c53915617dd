"""Run a network with ONNX Runtime: the engine of GPUs and other devices."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.openvino_import import import_openvino, openvino_reason
from featx.errors import EngineError
from featx.extraction.engines.fixed_batch import FixedBatches
from featx.extraction.engines.onnx_runtime.device import make_session
from featx.extraction.engines.onnx_runtime.translation import to_onnx
from featx.extraction.engines.openvino import add_pooling, read_network
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray

#: Pixels of a batch on a device other than the CPU by default: 128 images of 224 × 224.
_BATCH_PIXELS = 128 * 224 * 224
#: Batch on the CPU, and the largest batch on another device, by default.
_CPU_BATCH_SIZE, _MAX_BATCH_SIZE = 32, 256


def device_batch_size(batch_size: int | None, image_size: tuple[int, int], device: str) -> int:
    """Return the number of images of a batch. None: the default, which is larger on devices other than the CPU.

    Examples
    --------
    >>> [device_batch_size(None, (side, side), "cuda") for side in (96, 224, 518)]
    [256, 128, 16]
    >>> device_batch_size(32, (224, 224), "cuda"), device_batch_size(None, (224, 224), "cpu")
    (32, 32)
    """
    if batch_size is not None:
        return int(batch_size)
    if device == "cpu":
        return _CPU_BATCH_SIZE
    n_images = max(COMPILED_BATCH_SIZE, _BATCH_PIXELS // (image_size[0] * image_size[1]))
    return min(_MAX_BATCH_SIZE, 1 << (n_images.bit_length() - 1))


class OnnxRuntimeEngine(FixedBatches):
    """Run a compiled graph on a device, from uint8 pixels to features.

    Parameters
    ----------
    graph : Graph
        Network for `COMPILED_BATCH_SIZE` images with one output for each layer.
    layers : sequence of str
        Names of the layers to extract features from.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
        How the positions of a feature map are pooled.
    precision : {"float32", "float16"}
        Precision of the computation.
    image_size : tuple of (int, int)
        Height and width of the images.
    device : str
        Device, other than "auto".
    batch_size : int
        Number of images of each batch. A graph that is bound to `COMPILED_BATCH_SIZE` images runs with these.

    Raises
    ------
    EngineError
        If ONNX Runtime cannot run the graph, or the device is not on this machine.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[str],
        pooling: str,
        precision: str,
        image_size: tuple[int, int],
        *,
        device: str,
        batch_size: int,
    ) -> None:
        core = import_openvino().Core()
        network = add_pooling(read_network(core, graph, image_size), layers, pooling)
        if batch_size != COMPILED_BATCH_SIZE:
            try:
                network.reshape([batch_size, *image_size, 3])
            except RuntimeError:
                network = add_pooling(read_network(core, graph, image_size), layers, pooling)
                batch_size = COMPILED_BATCH_SIZE
        fold_constants(network)
        half = precision == "float16"
        self.session = make_session(to_onnx(network, half=half), device, half=half)
        self._device = device
        super().__init__(self._run_batch, image_size, batch_size=batch_size)

    def _run_batch(self, batch: AnyArray) -> AnyArray:
        try:
            return np.asarray(self.session.run(None, {"pixels": np.ascontiguousarray(batch)})[0])
        except Exception as error:  # each provider raises its own kinds
            reason = openvino_reason(error).rstrip(".")
            raise EngineError(
                f"Cannot run {len(batch)} images on device {self._device!r}: {reason}. Pass a smaller "
                'batch_size (--batch-size), or device="cpu" (--device cpu).'
            ) from error


def fold_constants(network: Any) -> None:
    """Compute what depends on shapes alone, so that no device has to."""
    import_openvino()
    has_new_name = importlib.util.find_spec("openvino.passes") is not None  # from OpenVINO 2025 on
    passes = importlib.import_module("openvino.passes" if has_new_name else "openvino.runtime.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(network)
