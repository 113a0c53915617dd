"""Networks of torchvision. Runs in child processes only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from featx.backbones.preprocessing import crop_share
from featx.backbones.torch.checkpoints import load_checkpoint, reading_checkpoint
from featx.backbones.torch.description import Configuration
from featx.backbones.torch.names import TorchName, nearest_names
from featx.backbones.torch.network import TorchNetwork
from featx.errors import EngineError, UnknownBackboneError

_models = torchvision.models
#: Arguments that the functions set if they load weights.
_ARGUMENTS = {"googlenet": {"transform_input": True}, "inception_v3": {"transform_input": True}}
#: Licenses that the metadata link to instead of naming them.
_LICENSES = {"https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "cc-by-nc-4.0"}


def configuration(name: TorchName, config_path: Path | None) -> Configuration:
    """Return what torchvision states about a network and its weights."""
    del config_path
    return _as_configuration(name.model, _find(name))


def _as_configuration(model: str, weights: Any) -> Configuration:
    transform = weights.transforms()
    (crop,), (resized,) = transform.crop_size, transform.resize_size
    license_url = weights.meta.get("license", "")
    return Configuration(
        name=TorchName("torchvision", model, weights.name).text,
        image_size=(crop, crop),
        resize=f"crop {crop_share(crop, resized):g} {transform.interpolation.value}",
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        is_size_fixed=model.startswith(("vit_", "maxvit_")),
        license=_LICENSES.get(license_url, license_url),
        origin=license_url or weights.meta.get("recipe") or "https://docs.pytorch.org/vision/stable/models.html",
        url=weights.url,
    )


def build(
    name: TorchName, image_size: tuple[int, int] | None, checkpoint: Path | None, config_path: Path | None
) -> TorchNetwork:
    """Return a network with the weights of a file, or with random weights."""
    del config_path
    model = name.model
    size = {"image_size": image_size[0]} if image_size and model.startswith("vit_") else {}
    module = _models.get_model(model, weights=None, **_ARGUMENTS.get(model, {}), **size)
    head, _ = _find_head(module)  # what it is given remains
    parent, _, attribute = head.rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Identity())
    if checkpoint is not None:
        with reading_checkpoint(checkpoint, name.text):
            tensors = load_checkpoint(checkpoint, name.text)
            others = {key: tensor for key, tensor in tensors.items() if key.rpartition(".")[0] != head}
            module.load_state_dict(others, strict=True)
    return TorchNetwork(module.eval(), module)


def _find_head(module: Any) -> tuple[str, Any]:
    """Return the layer that computes the scores of classes, with its name: the last linear one.

    The convolution of SqueezeNet has the same task.
    """
    for kind in (nn.Linear, nn.Conv2d):
        if layers := [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]:
            return layers[-1]
    raise EngineError(f"torchvision {torchvision.__version__} has a network without a head. Choose another one.")


def _find(name: TorchName) -> Any:
    names = _models.list_models(module=_models)
    if name.model not in names:
        hint = nearest_names("torchvision", name.model, names)
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: torchvision {torchvision.__version__} has no model {name.model!r}.{hint} "
            "Run `featx backbones --search WORD` to find one."
        )
    weights = _models.get_model_weights(name.model)
    if name.tag and name.tag not in weights.__members__:
        tags = [member.name for member in weights]
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: torchvision {torchvision.__version__} has no weights {name.tag!r} of "
            f"{name.model!r}. It has {', '.join(tags)}."
        )
    return weights[name.tag or "DEFAULT"]


def catalog() -> Iterator[tuple[Configuration, str]]:
    """Yield each network with its architecture."""
    for model in _models.list_models(module=_models):
        for weights in _models.get_model_weights(model):
            yield _as_configuration(model, weights), model


def sizes(architecture: str) -> tuple[int, int]:
    """Return the number of parameters of an architecture without its head, and of its features."""
    module = _models.get_model(architecture, weights=None)
    _, head = _find_head(module)
    n_head = sum(parameter.numel() for parameter in head.parameters())
    n_parameters = sum(parameter.numel() for parameter in module.parameters()) - n_head
    return n_parameters, head.in_features if isinstance(head, nn.Linear) else head.in_channels
