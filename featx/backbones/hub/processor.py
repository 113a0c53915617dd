"""Image size, resize and scaling that the ``preprocessor_config.json`` of a network of Hugging Face states."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

from featx.backbones.preprocessing import crop_share
from featx.errors import WeightsError
from featx.system.formatting import first_line

#: Interpolation by its number in Pillow. featx has no others.
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
#: ConvNeXt resizes larger images without a crop.
_CONVNEXT_CROPS_BELOW = 384
_NAME_ENDS = re.compile(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$")


@dataclasses.dataclass(frozen=True)
class _Rules:
    """Defaults of a class of image processors, for what its file does not state.

    Attributes
    ----------
    is_square : bool
        Whether a size that is one number is height and width. Otherwise, it is the shortest edge.
    resample : int
        Number of the interpolation in Pillow.
    is_cropped : bool
        Whether the center is cut out.
    """

    is_square: bool
    resample: int
    is_cropped: bool


#: Rules by the class without "ImageProcessor". "": a file without a class, as the first ones of ViT were.
_RULES = {
    "": _Rules(True, 2, False),
    **dict.fromkeys(("ViT", "DINOv3ViT", "Segformer"), _Rules(True, 2, False)),
    **dict.fromkeys(("Beit", "Blip", "EfficientNet", "Pvt"), _Rules(True, 3, False)),
    "DeiT": _Rules(True, 3, True),
    **dict.fromkeys(("Siglip", "ConvNext"), _Rules(False, 3, False)),
    **dict.fromkeys(("Bit", "CLIP", "ChineseCLIP", "Levit", "MobileViT", "PoolFormer"), _Rules(False, 3, True)),
    **dict.fromkeys(("MobileNetV1", "MobileNetV2"), _Rules(False, 2, True)),
}
_UNDERSTOOD = {
    *("image_processor_type", "feature_extractor_type", "default_to_square", "do_resize", "size", "resample"),
    *("do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
}
#: Keys that some classes understand as well.
_UNDERSTOOD_BY = {
    "ConvNext": {"crop_pct"},
    "PoolFormer": {"crop_pct"},
    "EfficientNet": {"rescale_offset", "include_top"},
    "MobileViT": {"do_flip_channel_order"},
}
#: Keys that change no pixel of an RGB image.
_WITHOUT_EFFECT = {
    *("do_convert_rgb", "processor_class", "data_format", "input_data_format", "return_tensors", "device"),
    *("disable_grouping", "use_fast", "_valid_processor_keys", "do_reduce_labels", "reduce_labels", "image_seq_length"),
    *("name_or_path", "transformers_version", "num_channels"),
}


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
    """Return what a file states, as the class of image processors that it names computes it.

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
        stated = json.loads(path.read_text(encoding="utf-8"))
        config = {key: value for key, value in stated.items() if value is not None}
        kind = _NAME_ENDS.sub("", config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        _check_keys(config, kind)
        size, resize = _resize(config, kind, _RULES[kind])
        return Processor(size, resize, _scaling(config, kind))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(
            f"Cannot read the preprocessing of {backbone!r} from {str(path)!r}: {first_line(error)}. "
            "Download the network, and pass its path, preprocessing (--preprocessing) and resize (--resize)."
        ) from error


def _check_keys(config: dict[str, Any], kind: str) -> None:
    """Raise ValueError for a class or key that may change pixels in a way that featx does not know."""
    if kind not in _RULES:
        raise ValueError(
            f"its image_processor_type must be one that featx knows, such as ViT, CLIP or Bit, got {kind!r}"
        )
    understood = _UNDERSTOOD | _WITHOUT_EFFECT | _UNDERSTOOD_BY.get(kind, set())
    if kind == "":  # its class follows from the type of the model, which is not read
        understood |= {"do_flip_channel_order"}
    unknown = [key for key, value in config.items() if key not in understood and value is not False]
    if unknown:
        raise ValueError(f"the keys must be those of {kind or 'any class'}, got {unknown[0]!r}")
    sizes = config.get("size"), config.get("crop_size")
    if kind == "" and isinstance(sizes[0], int) and config.get("do_center_crop"):
        raise ValueError("image_processor_type must be set for a size of one number with a crop, got none")


def _resize(config: dict[str, Any], kind: str, rules: _Rules) -> tuple[tuple[int, int] | None, str]:
    """Return the image size and the resize."""
    crop = _crop_size(config, rules)
    if not config.get("do_resize", True):
        if crop is not None:
            raise ValueError("do_resize must be true with a crop, got false")
        return None, "squash"
    size, keeps_ratio = _size(config, rules)
    resample = config.get("resample", rules.resample)
    if resample not in _INTERPOLATIONS:
        raise ValueError(f"resample must be 2 (bilinear) or 3 (bicubic), got {resample!r}")
    interpolation = _INTERPOLATIONS[resample]
    if kind == "ConvNext":
        resized, keeps_ratio, cut = _resized_by_convnext(config, size, keeps_ratio)
        if crop not in (None, cut):
            raise ValueError(f"crop_size must be the size of the image, got {config.get('crop_size')!r}")
        crop = cut
    else:
        resized, keeps_ratio = _resized(config, kind, size, keeps_ratio)
    if crop is None:
        if keeps_ratio:
            raise ValueError("size must be one size for all images, got a shortest edge without a crop")
        return resized, f"squash 1 {interpolation}"
    return crop, _cropped(resized, crop, interpolation, keeps_ratio=keeps_ratio)


def _size(config: dict[str, Any], rules: _Rules) -> tuple[tuple[int, int], bool]:
    """Return height and width, and whether both are the length that the shortest edge gets."""
    value = config.get("size")
    if isinstance(value, dict):
        if set(value) not in ({"height", "width"}, {"shortest_edge"}):
            raise ValueError(f"size must be height and width or a shortest edge, got {sorted(value)}")
        side = value.get("shortest_edge")
        sides = (value["height"], value["width"]) if side is None else (side, side)
        return (int(sides[0]), int(sides[1])), side is not None
    if isinstance(value, list):  # width and height
        return (int(value[1]), int(value[0])), False
    if value is None:
        raise ValueError("size must be set, got none")
    is_square = config.get("default_to_square", rules.is_square)
    return (int(value), int(value)), not is_square


def _crop_size(config: dict[str, Any], rules: _Rules) -> tuple[int, int] | None:
    """Return height and width of the center that is cut out; None if nothing is."""
    is_cropped = config.get("do_center_crop", rules.is_cropped)
    value = config.get("crop_size")
    if not is_cropped:
        return None
    if value is None:
        raise ValueError("crop_size must be set with do_center_crop, got none")
    return (int(value["height"]), int(value["width"])) if isinstance(value, dict) else (int(value), int(value))


def _resized_by_convnext(
    config: dict[str, Any], size: tuple[int, int], keeps_ratio: bool
) -> tuple[tuple[int, int], bool, tuple[int, int] | None]:
    """Return the size before the crop, whether it is that of the shortest edge, and the size of the crop."""
    if not keeps_ratio:
        raise ValueError("size must be a shortest edge, got height and width")
    if size[0] >= _CONVNEXT_CROPS_BELOW:
        return size, False, None
    side = int(size[0] / (config.get("crop_pct") or 224 / 256))
    return (side, side), True, size


def _resized(
    config: dict[str, Any], kind: str, size: tuple[int, int], keeps_ratio: bool
) -> tuple[tuple[int, int], bool]:
    """Return the size before the crop, and whether it is that of the shortest edge."""
    share = config.get("crop_pct", 0.9) if kind == "PoolFormer" else None
    if share is not None:
        return (int(size[0] / share), int(size[1] / share)), True
    if kind == "Levit" and keeps_ratio:
        side = int(256 / 224 * size[0])
        return (side, side), True
    return size, keeps_ratio


def _cropped(resized: tuple[int, int], crop: tuple[int, int], interpolation: str, *, keeps_ratio: bool) -> str:
    """Return the resize that has exactly these sizes before and after the crop."""
    share = float(f"{crop_share(crop[0], resized[0]):.6g}")
    sides = tuple(math.floor(side / share) for side in crop)
    is_possible = 0.1 <= share <= 1 and sides == resized and (crop[0] == crop[1] or not keeps_ratio)
    if not is_possible:
        raise ValueError(f"crop_size must be a part of the size with its aspect ratio, got {crop} of {resized}")
    mode = "crop" if keeps_ratio else "squash"
    return f"{mode} {share:.6g} {interpolation} floor"


def _scaling(config: dict[str, Any], kind: str) -> str | None:
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    mean, std = [0.0], [1.0]
    is_bgr = bool(config.get("do_flip_channel_order", kind == "MobileViT"))
    is_normalized = config.get("do_normalize", not is_bgr)
    if is_bgr and is_normalized and "image_mean" in config:
        raise ValueError("do_flip_channel_order must be false for pixels that are normalized, got true")
    is_divided_again = kind == "EfficientNet" and config.get("include_top", True)
    if is_normalized or is_divided_again:
        if "image_mean" not in config or "image_std" not in config:
            return None
        mean, std = (_three(config[key]) for key in ("image_mean", "image_std"))
    divisors = [value ** (bool(is_normalized) + bool(is_divided_again)) for value in std]
    if not is_normalized:
        mean = [0.0]
    if kind == "EfficientNet" and config.get("rescale_offset") and config.get("do_rescale", True):
        mean = [value + 1 for value in mean]
    texts = (",".join(repr(round(value / factor, 6)) for value in _three(values)) for values in (mean, divisors))
    return "/".join(texts) + (" bgr" if is_bgr else "")


def _three(values: Any) -> list[float]:
    """Return one number for each channel."""
    numbers = [float(value) for value in (values if isinstance(values, list) else [values])]
    return numbers * (3 // len(numbers))
