"""Image towers of open_clip. Runs in child processes only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from featx.backbones.torch.checkpoints import reading_checkpoint
from featx.backbones.torch.description import Configuration
from featx.backbones.torch.names import TorchName, nearest_names
from featx.backbones.torch.network import TorchNetwork
from featx.errors import EngineError, UnknownBackboneError, did_you_mean
from featx.system.formatting import first_line

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_RESIZES = {"shortest": "crop 1", "squash": "squash 1", "longest": "pad #000000"}
#: Licenses that the authors state for all weights of a tag.
_LICENSES = {"openai": "mit", "laion": "mit", "datacomp": "mit", "commonpool": "mit", "metaclip": "cc-by-nc-4.0"}


def configuration(name: TorchName, config_path: Path | None) -> Configuration:
    """Return what open_clip states about a network and its weights."""
    del config_path
    return _as_configuration(name, _find_model(name))


def _as_configuration(name: TorchName, model: dict[str, Any]) -> Configuration:
    pretrained = open_clip.get_pretrained_cfg(name.model, name.tag) if name.tag else {}
    settings = merge_preprocess_dict(PreprocessCfg(), pretrained)
    side = model["vision_cfg"].get("image_size", 224)
    repository, file = (pretrained.get("hf_hub") or "/").rsplit("/", 1)
    resize = _RESIZES.get(settings["resize_mode"])
    return Configuration(
        name=name.text,
        image_size=tuple(side) if isinstance(side, list | tuple) else (side, side),
        resize=f"{resize} {settings['interpolation']}" if resize else "",
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        license=next((text for start, text in _LICENSES.items() if name.tag.startswith(start)), ""),
        origin=f"https://huggingface.co/{repository}" if repository else "",
        repository=repository,
        files=_files(file),
    )


def _files(file: str) -> tuple[str, ...]:
    """Return the names of a file of weights, the one without code first."""
    return (f"{file.rsplit('.', 1)[0]}.safetensors", file) if file else _HUB_FILES


def build(
    name: TorchName, image_size: tuple[int, int] | None, checkpoint: Path | None, config_path: Path | None
) -> TorchNetwork:
    """Return an image tower with the weights of a file, or with random weights."""
    del config_path
    model = create_model(name, image_size, checkpoint)
    return TorchNetwork(model.visual, lambda images: model.encode_image(images, normalize=False))


def create_model(name: TorchName, image_size: tuple[int, int] | None, checkpoint: Path | None) -> Any:
    """Return a network with both of its towers, in inference mode.

    Parameters
    ----------
    name : TorchName
        Name of the network.
    image_size : tuple of (int, int) or None
        Height and width of the images. None: those of the network.
    checkpoint : Path or None
        Path of the weights; None for random weights.
    """
    config = _find_model(name)
    default = config["vision_cfg"].get("image_size", 224)
    pretrained = open_clip.get_pretrained_cfg(name.model, name.tag) if name.tag else {}
    try:
        model = open_clip.create_model(
            name.model,
            load_weights=False,
            pretrained_image=False,
            pretrained_text=False,
            # Weights of OpenAI need another activation than most; open_clip itself only warns about it.
            force_quick_gelu=pretrained.get("quick_gelu", False),
            force_image_size=None if image_size in (None, (default, default)) else image_size,
        )
    except (ImportError, RuntimeError) as error:
        raise EngineError(
            f"open_clip cannot build {name.text!r}: {first_line(error)}. Install what it asks for, or choose "
            "another network."
        ) from error
    if checkpoint is not None:
        with reading_checkpoint(checkpoint, name.text):
            open_clip.load_checkpoint(model, str(checkpoint), weights_only=True)
    return model.eval()


def _find_model(name: TorchName) -> dict[str, Any]:
    names = open_clip.list_models()
    if name.model not in names:
        hint = nearest_names("open_clip", name.model, names)
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: open_clip {open_clip.__version__} has no model {name.model!r}."
            f"{hint} Run `featx backbones --search WORD` to find one."
        )
    tags = open_clip.list_pretrained_tags_by_model(name.model)
    if name.tag and name.tag not in tags:
        hint = did_you_mean(name.tag, tags)
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: open_clip {open_clip.__version__} has no weights {name.tag!r} of "
            f"{name.model!r}.{hint} It has {', '.join(tags) or 'none'}."
        )
    config: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name.model))
    return config


def catalog() -> Iterator[tuple[Configuration, str]]:
    """Yield each network with its architecture."""
    for model, tag in open_clip.list_pretrained():
        name = TorchName("open_clip", model, tag)
        yield _as_configuration(name, _find_model(name)), model


def sizes(architecture: str) -> tuple[int, int]:
    """Return the number of parameters of an image tower, and of its features."""
    name = TorchName("open_clip", architecture)
    module = build(name, None, None, None).module
    return sum(parameter.numel() for parameter in module.parameters()), _find_model(name)["embed_dim"]
