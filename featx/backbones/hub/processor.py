"""Image size, resize and scaling that the ``preprocessor_config.json`` of a network of Hugging Face states."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from featx.backbones.preprocessing import crop_share
from featx.errors import WeightsError
from featx.system.formatting import first_line

#: Interpolation by its number in Pillow. featx has no others.
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
#: ConvNeXt resizes larger images without a crop.
_CONVNEXT_CROPS_BELOW = 384
#: Share of the image that LeViT's processor keeps; its file does not state it.
_LEVIT_SHARE = 224 / 256


@dataclasses.dataclass(frozen=True)
class Processor:
    """How images are prepared for a network.

    Attributes
    ----------
    image_size : tuple of (int, int) or None
        Height and width; None if the file does not state them.
    resize : str
        Resize as a recipe records it.
    preprocessing : str or None
        Scaling of pixels from 0 to 255 as a recipe records it; None if the file does not state it.
    """

    image_size: tuple[int, int] | None
    resize: str
    preprocessing: str | None


def read_processor(path: Path, backbone: str) -> Processor:
    """Return what a file states.

    Parameters
    ----------
    path : Path
        Path of a ``preprocessor_config.json``.
    backbone : str
        Name of the backbone, for error messages.

    Raises
    ------
    WeightsError
        If the file cannot be read, or states steps that featx does not have.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        size, crop = _sides(config.get("size")), _sides(config.get("crop_size"))
        return _processor(config, size, crop)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(
            f"Cannot read the preprocessing of {backbone!r} from {str(path)!r}: {first_line(error)}. "
            "Download the network, and pass its path, preprocessing (--preprocessing) and resize (--resize)."
        ) from error


def _processor(config: dict[str, Any], size: tuple[int, int] | None, crop: tuple[int, int] | None) -> Processor:
    resample = config.get("resample", 2)
    keeps_ratio = isinstance(config.get("size"), int) is False and "shortest_edge" in (config.get("size") or {})
    preprocessing = _scaling(config)
    if not config.get("do_resize", True) or size is None:
        return Processor(crop, "squash", preprocessing)
    if resample not in _INTERPOLATIONS:
        raise ValueError(f"resample must be 2 (bilinear) or 3 (bicubic), got {resample!r}")
    interpolation = _INTERPOLATIONS[resample]
    if config.get("do_center_crop") and crop is not None:
        mode = "crop" if keeps_ratio or isinstance(config.get("size"), int) else "squash"
        share = _stated_share(config) or crop_share(crop[0], size[0])
        return Processor(crop, f"{mode} {share:.6g} {interpolation}", preprocessing)
    if keeps_ratio and "crop_pct" not in config:
        raise ValueError("size must be one size for all images, got a shortest edge without a crop")
    if keeps_ratio and size[0] < _CONVNEXT_CROPS_BELOW:
        return Processor(size, f"crop {config['crop_pct'] or 224 / 256:.6g} {interpolation}", preprocessing)
    return Processor(size, f"squash 1 {interpolation}", preprocessing)


def _stated_share(config: dict[str, Any]) -> float | None:
    """Return the share of the image that a crop keeps, if the file or the processor's type states one."""
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    return _LEVIT_SHARE if kind.startswith("Levit") else config.get("crop_pct")


def _sides(value: Any) -> tuple[int, int] | None:
    """Return height and width from a number, or from one of the forms of Hugging Face."""
    if value is None:
        return None
    if isinstance(value, dict):
        side = value.get("shortest_edge")
        return (int(value["height"]), int(value["width"])) if side is None else (int(side), int(side))
    return (int(value), int(value))


def _scaling(config: dict[str, Any]) -> str | None:
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    mean, std = [0.0], [1.0]
    is_bgr = bool(config.get("do_flip_channel_order"))
    if is_bgr and "image_mean" in config and config.get("do_normalize", True):
        raise ValueError("do_flip_channel_order must be false for pixels that are normalized, got true")
    if config.get("do_normalize", not is_bgr):
        if "image_mean" not in config or "image_std" not in config:
            return None
        mean, std = config["image_mean"], config["image_std"]
    mean, std = (list(values) * (3 // len(values)) for values in (mean, std))
    texts = (",".join(repr(round(value / factor, 6)) for value in values) for values in (mean, std))
    return "/".join(texts) + (" bgr" if is_bgr else "")
