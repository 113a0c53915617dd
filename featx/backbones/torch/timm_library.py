"""Networks of timm. Runs in child processes only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm

from featx.backbones.torch.checkpoints import load_checkpoint, reading_checkpoint
from featx.backbones.torch.description import Configuration, color
from featx.backbones.torch.names import TorchName, nearest_names
from featx.backbones.torch.network import TorchNetwork
from featx.errors import OptionError, UnknownBackboneError
from featx.system.formatting import first_line

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
#: Arguments of ``timm.create_model`` that a configuration of the hub may not set; a checkpoint could hold pickled code.
_OWN_ARGUMENTS = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("scriptable", "exportable", "no_jit", "num_classes"),
}
#: Fields by which a configuration of the hub would make timm load weights from elsewhere.
_OWN_FIELDS = {"source", "file", "url", "hf_hub_id", "state_dict", "custom_load"}
_INTERPOLATIONS = ("bilinear", "bicubic")
_MODES = {"center": "crop", "squash": "squash"}
#: Crop mode with a border in the mean color around the whole image.
_BORDER = "border"


def configuration(name: TorchName, config_path: Path | None) -> Configuration:
    """Return what timm, or the configuration of a model of the hub, states about a network."""
    name, model, cfg, arguments = _find(name, config_path)
    if cfg["input_size"][0] != 3:
        raise OptionError(
            f"The backbone must take images of 3 channels, got {name.text!r}, which takes {cfg['input_size'][0]}. "
            "Choose another one."
        )
    return _as_configuration(name, model, cfg, arguments)


def _as_configuration(name: TorchName, model: str, cfg: dict[str, Any], arguments: dict[str, Any]) -> Configuration:
    del model, arguments
    repository = name.repository or cfg["hf_hub_id"] or ""
    origin = f"https://huggingface.co/{repository}" if repository else cfg["origin_url"] or cfg["url"] or ""
    return Configuration(
        name=name.text,
        image_size=tuple(cfg["input_size"][1:]),
        resize=_resize(cfg),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        license=cfg["license"] or "",
        origin=origin,
        repository=repository,
        files=(cfg["hf_hub_filename"],) if cfg["hf_hub_filename"] else _HUB_FILES,
        url="" if repository else cfg["url"] or "",
    )


def _resize(cfg: dict[str, Any]) -> str:
    """Return how images are fitted to the input; "" if featx has no such resize."""
    mode, share, interpolation = cfg["crop_mode"] or "center", cfg["crop_pct"], cfg["interpolation"]
    if interpolation not in _INTERPOLATIONS:
        return ""
    if mode == _BORDER and share == 1:
        return f"pad {color(cfg['mean'])} {interpolation}"
    return f"{_MODES[mode]} {share:g} {interpolation}" if mode in _MODES and 0.1 <= share <= 1 else ""


def build(
    name: TorchName, image_size: tuple[int, int] | None, checkpoint: Path | None, config_path: Path | None
) -> TorchNetwork:
    """Return a network with the weights of a file, or with random weights."""
    name, model, cfg, arguments = _find(name, config_path)
    if image_size is not None and tuple(cfg["input_size"][1:]) != image_size and cfg["fixed_input_size"]:
        arguments = {**arguments, "img_size": image_size}  # positions are interpolated
    if checkpoint is None:
        return _network(_create(name, model, cfg, arguments, n_classes=0))
    with reading_checkpoint(checkpoint, name.text):
        if checkpoint.suffix == ".npz":  # the format of the authors of ViT and BiT
            overlay: dict[str, Any] = {"file": str(checkpoint), "custom_load": True}
            return _network(_create(name, model, cfg, arguments, n_classes=cfg["num_classes"], overlay=overlay))
        tensors = load_checkpoint(checkpoint, name.text)
        return _network(_load(name, model, cfg, arguments, tensors))


def _load(name: TorchName, model: str, cfg: dict[str, Any], arguments: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """Return a network with tensors, whatever the number of classes of their head is.

    All other tensors must fit. That is checked for the same number of classes only, hence the overlay.
    """
    classifier = cfg["classifier"]
    heads = [classifier] if isinstance(classifier, str) else list(classifier or ())
    sizes = [len(tensors[f"{head}.weight"]) for head in heads if f"{head}.weight" in tensors]
    error: Exception | None = None
    for n_classes in dict.fromkeys([*sizes[:1], *([] if sizes else [0]), cfg["num_classes"]]):
        overlay = {"state_dict": dict(tensors), "num_classes": n_classes, "label_offset": 0, "custom_load": False}
        try:
            return _create(name, model, cfg, arguments, n_classes=n_classes, overlay=overlay)
        except RuntimeError as raised:
            error = error or raised
    assert error is not None
    raise error


def _create(
    name: TorchName,
    model: str,
    cfg: dict[str, Any],
    arguments: dict[str, Any],
    *,
    n_classes: int,
    overlay: dict[str, Any] | None = None,
) -> Any:
    try:
        return timm.create_model(
            model,
            pretrained=overlay is not None,
            pretrained_cfg=cfg,
            pretrained_cfg_overlay=overlay or {},
            num_classes=n_classes,
            **arguments,
        )
    except (AssertionError, TypeError, ValueError) as error:
        if "img_size" not in arguments:
            raise
        raise OptionError(
            f"{name.text!r} does not accept images of {arguments['img_size'][0]} × {arguments['img_size'][1]} pixels: "
            f"{first_line(error)}. Omit image_size (--image-size)."
        ) from error


def _network(module: Any) -> TorchNetwork:
    module.eval()

    def forward(images: Any) -> Any:
        features = module.forward_features(images)
        return features, module.forward_head(features, pre_logits=True)

    return TorchNetwork(
        module,
        forward,
        n_prefix_tokens=getattr(module, "num_prefix_tokens", 0),
        has_class_token=getattr(module, "cls_token", None) is not None,
    )


def _find(name: TorchName, config_path: Path | None) -> tuple[TorchName, str, dict[str, Any], dict[str, Any]]:
    """Return the name with its weights, the architecture, its configuration and further arguments."""
    if config_path is not None:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        model, fields = config["architecture"], config.get("pretrained_cfg", config)
        known = set(timm.models.PretrainedCfg.__dataclass_fields__)
        if not timm.is_model(model):
            raise UnknownBackboneError(
                f"Cannot build {name.text!r}: timm {timm.__version__} does not know its architecture {model!r}. "
                "Update timm: pip install --upgrade timm."
            )
        fields = {**fields, "num_classes": config.get("num_classes", fields.get("num_classes", 1000))}
        cfg = timm.models.PretrainedCfg(**{key: item for key, item in fields.items() if key in known - _OWN_FIELDS})
        # Other fields of the configuration, such as its own global_pool, have no effect in timm either.
        arguments = {key: value for key, value in config.get("model_args", {}).items() if key not in _OWN_ARGUMENTS}
        return name, model, _as_dict(cfg), arguments
    cfg = _known_configuration(name)
    return TorchName("timm", name.model, cfg.tag or ""), name.model, _as_dict(cfg), {}


def _as_dict(cfg: Any) -> dict[str, Any]:
    fields: dict[str, Any] = dict(vars(cfg))
    fields["crop_pct"] = fields["crop_pct"] or 0.875
    return fields


def _known_configuration(name: TorchName) -> Any:
    if not timm.is_model(name.model):
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: timm {timm.__version__} has no model {name.model!r}."
            f"{nearest_names('timm', name.model, timm.list_models())} Run `featx backbones --search WORD` to find one."
        )
    try:
        return timm.get_pretrained_cfg(f"{name.model}.{name.tag}" if name.tag else name.model, allow_unregistered=False)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.model}.*")
        raise UnknownBackboneError(
            f"Unknown backbone {name.text!r}: timm {timm.__version__} has no weights {name.tag!r} of {name.model!r}."
            f"{nearest_names('timm', f'{name.model}.{name.tag}', tags)} It has "
            f"{', '.join(tag.partition('.')[2] for tag in tags) or 'none'}."
        ) from error


def catalog() -> Iterator[tuple[Configuration, str]]:
    """Yield each network with its architecture."""
    for text in timm.list_pretrained():
        model, _, tag = text.partition(".")
        name = TorchName("timm", model, tag)
        yield _as_configuration(name, model, _as_dict(timm.get_pretrained_cfg(text)), {}), model


def sizes(architecture: str) -> tuple[int, int]:
    """Return the number of parameters of an architecture without its head, and of its features."""
    module = timm.create_model(architecture, num_classes=0)
    n_features = getattr(module, "head_hidden_size", None) or module.num_features
    return sum(parameter.numel() for parameter in module.parameters()), int(n_features)
