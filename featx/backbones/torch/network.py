"""A module of torch as a network from uint8 pixels to the outputs of layers. Runs in child processes only."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.layers import LayerInfo, pooled_output_name
from featx.backbones.openvino_import import import_openvino
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.torch.description import FEATURES

#: Largest difference of equal features, relative to the largest feature.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class TorchNetwork:
    """An image network of a library.

    Attributes
    ----------
    module : torch.nn.Module
        Image network, whose submodules are its layers.
    forward : callable
        Returns the input of the network's own head for images of shape (n_samples, 3, height, width); or a pair
        of the output before pooling and that.
    n_prefix_tokens : int or None, default=None
        Number of class and register tokens before those of positions. None: inferred from the number of tokens.
    has_class_token : bool or None, default=None
        Whether the first token is a class token. None: if there are prefix tokens.
    """

    module: Any
    forward: Callable[[Any], Any]
    n_prefix_tokens: int | None = None
    has_class_token: bool | None = None

    def describe(self, image_size: tuple[int, int]) -> tuple[list[LayerInfo], str]:
        """Return the layers at an image size, and what the native pooling is.

        The parameters get noise, so that no layer is the identity by its initial weights.
        """
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for parameter in self.module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
            images = torch.randn((1, 3, *image_size), generator=generator)
            outputs = Outputs(self, image_size, None)(images)
        native = outputs[pooled_output_name(FEATURES, "native")]
        blocks = set(find_blocks(self.module))
        layers = []
        for name, output in outputs.items():
            if " " in name:
                continue
            has_class_token = pooled_output_name(name, "cls") in outputs
            kind = "features" if name == FEATURES else type(self.module.get_submodule(name)).__name__
            layers.append(
                LayerInfo(
                    name,
                    kind,
                    tuple(output.shape[1:]),
                    name in blocks or name == FEATURES,
                    has_class_token,
                    native.shape[1] if name == FEATURES else 0,
                )
            )
        return layers, _native_pooling(outputs, native)


def _native_pooling(outputs: dict[str, Any], native: Any) -> str:
    pooled = {"avg": outputs[FEATURES].mean((1, 2)), "cls": outputs.get(pooled_output_name(FEATURES, "cls"))}
    for pooling, rows in pooled.items():
        is_same_shape = rows is not None and rows.shape == native.shape
        if is_same_shape and (rows - native).abs().max() <= _TOLERANCE * native.abs().max() > 0:
            return pooling
    return "native"


class Outputs(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """A network from images to the outputs of its blocks, by name, channels last.

    Parameters
    ----------
    network : TorchNetwork
        Network whose blocks are read.
    image_size : tuple of (int, int)
        Height and width of the images.
    names : sequence of str or None
        Names of the layers to return. None: all.
    preprocessing : Preprocessing or None, default=None
        Scaling of uint8 pixels with channels last, which the network is given then. None: it is given images.
    """

    def __init__(
        self,
        network: TorchNetwork,
        image_size: tuple[int, int],
        names: Sequence[str] | None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        self.module = network.module
        self._network, self._image_size, self._preprocessing = network, image_size, preprocessing
        self._names = None if names is None else {*names, FEATURES}
        self._recorded: dict[str, Any] = {}
        self._last: Any = None
        for name, module in network.module.named_modules():
            module.register_forward_hook(self._recorder(name))
        self._blocks = find_blocks(network.module)

    def _recorder(self, name: str) -> Callable[[Any, Any, Any], None]:
        def record(module: Any, inputs: Any, output: Any) -> None:
            del module, inputs
            if isinstance(output, torch.Tensor) and self._as_map(output) is not None:
                self._last = output
                if name in self._blocks:
                    self._recorded[name] = output

        return record

    def forward(self, images: Any) -> dict[str, Any]:
        """Return the outputs of layers by name, pooled ones after them."""
        if self._preprocessing is not None:
            images = self._prepare(images)
        self._recorded.clear()
        result = self._network.forward(images)
        features, native = result if isinstance(result, tuple) else (self._last, result)
        outputs: dict[str, Any] = {}
        for name, tensor in {**self._recorded, FEATURES: features}.items():
            if self._names is None or name in self._names:
                outputs[name] = self._as_map(tensor)
                if tensor.ndim == 3 and self._has_class_token(tensor):
                    outputs[pooled_output_name(name, "cls")] = tensor[:, 0]
        outputs[pooled_output_name(FEATURES, "native")] = native.flatten(1)
        return outputs

    def _prepare(self, pixels: Any) -> Any:
        assert self._preprocessing is not None
        mean, scale = (
            torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1)
            for values in (self._preprocessing.mean, self._preprocessing.scale)
        )
        images = pixels.permute(0, 3, 1, 2).to(torch.float32)
        if self._preprocessing.is_bgr:
            images = images.flip(1)
        return images * (1 / scale).to(torch.float32) - (mean / scale).to(torch.float32)

    def _as_map(self, tensor: Any) -> Any:
        """Return an output as a map with channels last; None if it is no map."""
        height, width = self._image_size
        if tensor.ndim == 4:
            after_channels, before_channels = tensor.shape[2:], tensor.shape[1:3]
            if min(after_channels) > 1 and _aspect_error(after_channels, self._image_size) <= _aspect_error(
                before_channels, self._image_size
            ):
                return tensor.permute(0, 2, 3, 1)
            return tensor if min(before_channels) > 1 else None
        if tensor.ndim != 3:
            return None
        n_positions = int(tensor.shape[1]) - self._n_prefix_tokens(tensor)
        rows = round(math.sqrt(n_positions * height / width))
        if rows < 2 or n_positions % rows or _aspect_error((rows, n_positions // rows), self._image_size) > 0.1:
            return None
        positions = tensor[:, int(tensor.shape[1]) - n_positions :]
        return positions.reshape(-1, rows, n_positions // rows, int(tensor.shape[2]))

    def _n_prefix_tokens(self, tensor: Any) -> int:
        if self._network.n_prefix_tokens is not None:
            return self._network.n_prefix_tokens
        n_tokens, ratio = int(tensor.shape[1]), self._image_size[0] / self._image_size[1]
        for n_prefix in range(2):
            rows = round(math.sqrt((n_tokens - n_prefix) * ratio))
            if rows and (n_tokens - n_prefix) == rows * round(rows / ratio):
                return n_prefix
        return 0

    def _has_class_token(self, tensor: Any) -> bool:
        if self._network.has_class_token is not None:
            return self._network.has_class_token
        return self._n_prefix_tokens(tensor) > 0


def _aspect_error(sides: Sequence[int], image_size: tuple[int, int]) -> float:
    """Return how far the aspect ratio of a map is from that of the images."""
    if min(sides) < 1:
        return math.inf
    return abs(math.log(int(sides[0]) / int(sides[1])) - math.log(image_size[0] / image_size[1]))


def find_blocks(module: Any) -> list[str]:
    """Return the names of the blocks of a network: the innermost elements of its sequences that have layers themselves.

    A network without such sequences has its direct parts instead.
    """
    modules = dict(module.named_modules())
    sequences = (nn.Sequential, nn.ModuleList)
    elements = [
        name
        for name, part in modules.items()
        if name
        and isinstance(modules[name.rpartition(".")[0]], sequences)
        and not isinstance(part, sequences)
        and any(True for _ in part.children())
    ]
    blocks = [name for name in elements if not any(other.startswith(f"{name}.") for other in elements)]
    return blocks or [name for name, part in module.named_children() if any(True for _ in part.children())]


def convert(network: TorchNetwork, image_size: tuple[int, int], names: Sequence[str], preprocessing: str) -> Any:
    """Return an ``openvino.Model`` from uint8 pixels to the outputs of layers, by name, and their pooled outputs.

    Parameters
    ----------
    network : TorchNetwork
        Network with its weights.
    image_size : tuple of (int, int)
        Height and width of the images.
    names : sequence of str
        Names of the layers.
    preprocessing : str
        Scaling of pixels as a recipe records it.
    """
    wrapped = Outputs(network, image_size, names, Preprocessing.from_text(preprocessing)).eval()
    pixels = torch.zeros((COMPILED_BATCH_SIZE, *image_size, 3), dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about each shape that becomes a constant, which is meant
        output_names = list(wrapped(pixels))
        graph = import_openvino().convert_model(wrapped, example_input=pixels)
    for name, output in zip(output_names, graph.outputs, strict=True):
        output.get_tensor().set_names({name})
    graph.reshape([COMPILED_BATCH_SIZE, *image_size, 3])
    return graph
