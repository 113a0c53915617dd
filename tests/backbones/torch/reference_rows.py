"""Rows of images as timm, torchvision and open_clip compute them with their own transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

Array = np.ndarray[Any, Any]


def save_random_weights(module: Any, path: Path) -> None:
    """Write weights of which none is zero or one: those a library starts from hide whole branches of a network."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    tensors = {}
    for name, initial in module.state_dict().items():
        tensor = initial
        noise = torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else None
        if noise is not None and name.endswith("running_var"):
            tensor = tensor + 0.2 * noise.abs()
        elif noise is not None:
            tensor = tensor + 0.3 * noise * (tensor.std() if tensor.numel() > 1 and tensor.std() > 0 else 0.2)
        tensors[name] = tensor.contiguous().clone()
    if norms:  # their statistics must be those of the random weights, or the signal vanishes
        module.load_state_dict(tensors)
        for norm in norms:
            norm.momentum = None
        with torch.no_grad():
            module.train()(torch.randn((8, 3, 96, 96), generator=generator))
        tensors = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    save_file(tensors, path)


def compute_rows(forward: Callable[[Any], Any], transform: Callable[[Any], Any], paths: Sequence[str]) -> Array:
    """Return the rows of image files, one after another."""
    import torch

    rows = []
    with torch.inference_mode():
        for path in paths:
            with PIL.Image.open(path) as image:
                images = transform(image.convert("RGB"))[None]
            rows.append(forward(images).flatten(1).numpy()[0])
    return np.stack(rows)


def timm_reference(model: str, weights: Path, paths: Sequence[str], pooling: str = "native", **options: Any) -> Array:
    import timm

    overlay = {"file": str(weights), "custom_load": False}
    network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **options).eval()
    size = options.get("img_size")
    config = timm.data.resolve_data_config({"input_size": (3, size, size)} if size else {}, model=network)
    transform = timm.data.create_transform(**config, is_training=False)
    n_prefix = getattr(network, "num_prefix_tokens", 0)

    def forward(images: Any) -> Any:
        features = network.forward_features(images)
        if pooling == "native":
            return network.forward_head(features, pre_logits=True)
        return features[:, 0] if pooling == "cls" else features[:, n_prefix:].mean(1)

    return compute_rows(forward, transform, paths)


def torchvision_reference(model: str, tag: str, weights: Path, paths: Sequence[str]) -> Array:
    import torchvision
    from safetensors.torch import load_file
    from torch import nn

    network = torchvision.models.get_model(model).eval()
    network.load_state_dict(load_file(weights))
    rows: list[Any] = []
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    linear.register_forward_pre_hook(lambda layer, inputs: rows.append(inputs[0]))

    def forward(images: Any) -> Any:
        network(images)
        return rows[-1]

    return compute_rows(forward, torchvision.models.get_model_weights(model)[tag].transforms(), paths)


def open_clip_reference(model: str, weights: Path, paths: Sequence[str]) -> Array:
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms(model, pretrained=str(weights))
    return compute_rows(network.eval().encode_image, transform, paths)
