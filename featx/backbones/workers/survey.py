"""What Keras's own registry offers → ``networks.json`` and ``layers/``: run by whoever takes up a newer Keras.

``python -m featx.backbones.workers.survey [NAME …]`` builds each network of ``keras.applications`` (all, if none is named)
and writes what featx has to know without importing Keras. A test compares it with the Keras that is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from featx.backbones.builtin_networks import NETWORKS_FILE
from featx.backbones.keras_import import import_keras
from featx.backbones.layers import layers_path
from featx.backbones.workers.describe_application import as_json, layer_rows

#: Widths of the MobileNets besides 1.0 that Keras has ImageNet weights of.
_ALPHAS = {
    "MobileNet": (0.25, 0.5, 0.75),
    "MobileNetV2": (0.35, 0.5, 0.75, 1.3, 1.4),
    "MobileNetV3Small": (0.75,),
    "MobileNetV3Large": (0.75,),
}
#: Percent of ImageNet's validation images whose first guess is right: keras.io/api/applications; of the MobileNets'
#: other widths and of MobileNetV3, the documentation of their modules.
_TOP_1 = {
    **{"Xception": 79.0, "VGG16": 71.3, "VGG19": 71.3, "InceptionV3": 77.9, "InceptionResNetV2": 80.3},
    **{"ResNet50": 74.9, "ResNet101": 76.4, "ResNet152": 76.6},
    **{"ResNet50V2": 76.0, "ResNet101V2": 77.2, "ResNet152V2": 78.0},
    **{"DenseNet121": 75.0, "DenseNet169": 76.2, "DenseNet201": 77.3, "NASNetMobile": 74.4, "NASNetLarge": 82.5},
    **{"EfficientNetB0": 77.1, "EfficientNetB1": 79.1, "EfficientNetB2": 80.1, "EfficientNetB3": 81.6},
    **{"EfficientNetB4": 82.9, "EfficientNetB5": 83.6, "EfficientNetB6": 84.0, "EfficientNetB7": 84.3},
    **{"EfficientNetV2B0": 78.7, "EfficientNetV2B1": 79.8, "EfficientNetV2B2": 80.5, "EfficientNetV2B3": 82.0},
    **{"EfficientNetV2S": 83.9, "EfficientNetV2M": 85.3, "EfficientNetV2L": 85.7},
    **{
        "ConvNeXtTiny": 81.3,
        "ConvNeXtSmall": 82.3,
        "ConvNeXtBase": 85.3,
        "ConvNeXtLarge": 86.3,
        "ConvNeXtXLarge": 86.7,
    },
    **{"MobileNet": 70.4, "MobileNet 0.75": 68.4, "MobileNet 0.5": 63.7, "MobileNet 0.25": 50.6},
    **{"MobileNetV2": 71.3, "MobileNetV2 1.4": 75.0, "MobileNetV2 1.3": 74.4, "MobileNetV2 0.75": 69.8},
    **{"MobileNetV2 0.5": 65.4, "MobileNetV2 0.35": 60.3, "MobileNetV3Small": 68.1, "MobileNetV3Small 0.75": 65.4},
    **{"MobileNetV3Large": 75.6, "MobileNetV3Large 0.75": 73.3},
}
#: Where a word begins in the name of a network: a version, or the size that stands last.
_WORD = re.compile(r"(?<=[A-Za-z0-9])(?=V\d|ResNetV)|(?<=[t\d])(?=(B\d|[SML]|Mobile|Tiny|Small|Base|Large|XLarge)$)")


def registry() -> list[tuple[str, str, float]]:
    """Return (module, function, width) of every network that the installed Keras offers."""
    applications = import_keras().applications
    found = []
    for function, build in vars(applications).items():
        if function[0].isupper() and callable(build):
            module = build.__module__.rsplit(".", 1)[-1]
            found += [(module, function, alpha) for alpha in (1.0, *_ALPHAS.get(function, ()))]
    return sorted(found)


def name_of(function: str, alpha: float) -> str:
    """Return the name that users write.

    Examples
    --------
    >>> [name_of(name, 1.0) for name in ("ResNet50V2", "EfficientNetV2B0", "ConvNeXtXLarge", "MobileNetV3Small")]
    ['resnet50_v2', 'efficientnet_v2_b0', 'convnext_xlarge', 'mobilenet_v3_small']
    >>> name_of("MobileNet", 0.25)
    'mobilenet_0.25'
    """
    words = _WORD.sub("_", function)
    return words.lower() + (f"_{alpha:g}" if alpha != 1 else "")


class _Asked(Exception):  # noqa: N818  # not an error: the answer to a question
    """Keras has said what was to be known, and need not go on."""


@contextlib.contextmanager
def _listening(module: str, function: str, heard: dict[str, Any], *, stop: bool) -> Iterator[None]:
    """Hear what a network calls one of Keras's own functions with."""
    at = importlib.import_module(module)
    original = getattr(at, function)

    def listen(*args: Any, **options: Any) -> Any:
        heard.update(options, args=args)
        if stop:
            raise _Asked
        return original(*args, **options)

    setattr(at, function, listen)
    try:
        yield
    finally:
        setattr(at, function, original)


def sizes(function: str) -> tuple[int, int]:
    """Return the default and the smallest image size, in pixels; nothing is built."""
    heard: dict[str, Any] = {}
    with (
        _listening("keras.src.applications.imagenet_utils", "obtain_input_shape", heard, stop=True),
        contextlib.suppress(_Asked),
    ):
        getattr(import_keras().applications, function)(include_top=False, weights=None)
    # MobileNetV3 looks at the size by itself; these are its documentation's.
    return heard.get("default_size", 224), heard.get("min_size", 32)


def weights_source(function: str, alpha: float, image_size: int) -> tuple[str, str]:
    """Return the address of the ImageNet weights without head, and the digest that Keras expects of them; it builds."""
    heard: dict[str, Any] = {}
    options: dict[str, Any] = {"alpha": alpha} if function in _ALPHAS else {}
    with (
        _listening("keras.src.utils.file_utils", "get_file", heard, stop=True),
        contextlib.suppress(_Asked),
    ):
        build = getattr(import_keras().applications, function)
        build(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3), **options)
    address = heard.get("origin") or heard["args"][1]
    return address, heard.get("file_hash") or ""


def survey(module: str, function: str, alpha: float) -> tuple[dict[str, Any], list[Any]]:
    """Return what featx has to know of a network, and its layers."""
    keras = import_keras()
    image_size, min_image_size = sizes(function)
    address, digest = weights_source(function, alpha, image_size)
    keras.utils.clear_session()  # or names would be numbered by the networks before
    options = {"alpha": alpha} if function in _ALPHAS else {}
    build = getattr(keras.applications, function)
    network = build(include_top=False, weights=None, input_shape=(image_size, image_size, 3), **options)
    rows = layer_rows(network)
    pooled = build(include_top=False, weights=None, pooling="avg", input_shape=(image_size, image_size, 3), **options)
    title = f"{function} {alpha:g}" if alpha != 1 else function
    return {
        "name": name_of(function, alpha),
        "application": f"{module}.{function}",
        **({"alpha": alpha} if alpha != 1 else {}),
        "layer": rows[-1][0],
        "channels": int(network.output.shape[-1]),
        "image_size": image_size,
        "min_image_size": min_image_size,
        **({"pools_before_norm": True} if "Pooling" not in type(pooled.layers[-1]).__name__ else {}),
        "n_parameters": int(network.count_params()),
        "top_1": _TOP_1[title],
        "weights_url": address,
        **({"weights_hash": digest} if digest else {}),
    }, rows


def main(names: list[str]) -> int:
    """Write ``networks.json`` and the layers of the networks that are named, or of all."""
    known = {}
    if NETWORKS_FILE.exists():
        known = {one["name"]: one for one in json.loads(NETWORKS_FILE.read_text(encoding="utf-8"))}
    for module, function, alpha in registry():
        if names and name_of(function, alpha) not in names:
            continue
        with warnings.catch_warnings():
            # Of a size other than its own, Keras says which weights it will take: here it takes none.
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            fields, rows = survey(module, function, alpha)
        known[fields["name"]] = fields
        layers_path(fields["application"], alpha).write_text(as_json(rows), encoding="utf-8")
        lines = ",\n".join(json.dumps(known[name]) for name in sorted(known))
        NETWORKS_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
