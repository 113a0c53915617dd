"""Write the records and layer lists of all networks of ``keras.applications``: run it for a new version of Keras.

``python -m featx.backbones.workers.survey [NAME …]`` builds the named networks, or all, and writes ``data/networks``
and ``data/layers``. It keeps what no build shows: license, origin, paper, pretraining data, preprocessing and bundled
weights. Fill these in by hand for a new network, and add its accuracy to ``data/imagenet_top1.csv``. A test compares
the records with the installed Keras.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featx.backbones.keras.graph import LayerRow, layer_rows, rows_to_json
from featx.backbones.keras.keras_import import import_keras
from featx.backbones.layers import layers_path
from featx.backbones.records import RECORDS_FOLDER

#: Width multipliers of the MobileNets besides 1.0 for which Keras has ImageNet weights.
_ALPHAS = {
    "MobileNet": (0.25, 0.5, 0.75),
    "MobileNetV2": (0.35, 0.5, 0.75, 1.3, 1.4),
    "MobileNetV3Small": (0.75,),
    "MobileNetV3Large": (0.75,),
}
#: Facts that the networks of a file share, in the order of the file.
_FAMILY_FIELDS = ("family", "license", "origin_url", "paper", "pretraining_data", "preprocessing")
#: Facts about one network that Keras does not know.
_KEPT_FIELDS = ("license", "origin_url", "paper", "pretraining_data", "bundled_file", "bundled_sha256")
#: Where a word begins in the name of a function: a version, or the size at the end.
_WORD = re.compile(r"(?<=[A-Za-z0-9])(?=V\d|ResNetV)|(?<=[t\d])(?=(B\d|[SML]|Mobile|Tiny|Small|Base|Large|XLarge)$)")


def list_applications() -> list[tuple[str, str, float]]:
    """Return (module, function, width multiplier) of every network in the installed Keras."""
    applications = import_keras().applications
    networks = []
    for function, build in vars(applications).items():
        if function[0].isupper() and callable(build):
            module = build.__module__.rsplit(".", 1)[-1]
            networks += [(module, function, alpha) for alpha in (1.0, *_ALPHAS.get(function, ()))]
    return sorted(networks)


def backbone_name(function: str, alpha: float) -> str:
    """Return the name of the backbone that a function builds.

    Examples
    --------
    >>> functions = ("ResNet50V2", "EfficientNetV2B0", "ConvNeXtXLarge", "MobileNetV3Small")
    >>> [backbone_name(function, 1.0) for function in functions]
    ['resnet50_v2', 'efficientnet_v2_b0', 'convnext_xlarge', 'mobilenet_v3_small']
    >>> backbone_name("MobileNet", 0.25)
    'mobilenet_0.25'
    """
    words = _WORD.sub("_", function)
    return words.lower() + (f"_{alpha:g}" if alpha != 1 else "")


def survey(module: str, function: str, alpha: float) -> tuple[dict[str, Any], list[LayerRow]]:
    """Return the fields of a record that Keras knows, and the layers of the network.

    Parameters
    ----------
    module, function : str
        Module and function below ``keras.applications``.
    alpha : float
        Width multiplier.
    """
    keras = import_keras()
    image_size, min_image_size = _image_sizes(function)
    weights_url, weights_hash = _weights_source(function, alpha, image_size)
    keras.utils.clear_session()  # otherwise Keras continues to number the names of layers
    network = _build(function, alpha, image_size)
    rows = layer_rows(network)
    last_pooled = _build(function, alpha, image_size, pooling="avg").layers[-1]
    fields = {
        "name": backbone_name(function, alpha),
        "application": f"{module}.{function}",
        **({"alpha": alpha} if alpha != 1 else {}),
        "layer": rows[-1][0],
        "n_channels": int(network.output.shape[-1]),
        "image_size": image_size,
        "min_image_size": min_image_size,
        **({"pools_before_norm": True} if "Pooling" not in type(last_pooled).__name__ else {}),
        "n_parameters": int(network.count_params()),
        "weights_url": weights_url,
        **({"weights_hash": weights_hash} if weights_hash else {}),
    }
    return fields, rows


def update_record(path: Path, fields: dict[str, Any]) -> None:
    """Write the fields of one network into the file of its family, which may be new."""
    family: dict[str, Any] = dict.fromkeys(_FAMILY_FIELDS, "")
    if path.exists():
        family = json.loads(path.read_text(encoding="utf-8"))
    networks = {network["name"]: network for network in family.pop("networks", [])}
    old = networks.get(fields["name"], {})
    networks[fields["name"]] = {**fields, **{name: old[name] for name in _KEPT_FIELDS if name in old}}
    lines = ",\n".join(json.dumps(networks[name]) for name in sorted(networks))
    path.write_text(f'{json.dumps(family)[:-1]}, "networks": [\n{lines}\n]}}\n', encoding="utf-8")


def _build(function: str, alpha: float, image_size: int, **options: Any) -> Any:
    """Build a network without its head, with random weights unless others are requested."""
    width = {"alpha": alpha} if function in _ALPHAS else {}
    shape = (image_size, image_size, 3)
    build = getattr(import_keras().applications, function)
    return build(**{"include_top": False, "weights": None, "input_shape": shape, **width, **options})


def _image_sizes(function: str) -> tuple[int, int]:
    """Return the default and the smallest image size in pixels, without building the network."""
    call: dict[str, Any] = {}
    with _record_call("keras.src.applications.imagenet_utils", "obtain_input_shape", call):
        getattr(import_keras().applications, function)(include_top=False, weights=None)
    # MobileNetV3 does not call this function; these are the sizes of its documentation.
    return call.get("default_size", 224), call.get("min_size", 32)


def _weights_source(function: str, alpha: float, image_size: int) -> tuple[str, str]:
    """Return the address and the hash of the ImageNet weights without the head; the network is built."""
    call: dict[str, Any] = {}
    with _record_call("keras.src.utils.file_utils", "get_file", call):
        _build(function, alpha, image_size, weights="imagenet")
    return call.get("origin") or call["args"][1], call.get("file_hash") or ""


class _CallRecordedError(Exception):
    """Ends a call of Keras once its arguments are recorded."""


@contextlib.contextmanager
def _record_call(module_name: str, function: str, call: dict[str, Any]) -> Iterator[None]:
    """Record the arguments of the first call of a function of Keras in a block, and end the block there."""
    module = importlib.import_module(module_name)
    original = getattr(module, function)

    def record(*args: Any, **options: Any) -> Any:
        call.update(options, args=args)
        raise _CallRecordedError

    setattr(module, function, record)
    try:
        with contextlib.suppress(_CallRecordedError):
            yield
    finally:
        setattr(module, function, original)


def main(names: list[str]) -> int:
    """Write the records and layer lists of the named networks, or of all."""
    for module, function, alpha in list_applications():
        if names and backbone_name(function, alpha) not in names:
            continue
        with warnings.catch_warnings():
            # For a size other than its default, Keras names the weights that it loads instead: here it loads none.
            warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
            fields, rows = survey(module, function, alpha)
        layers_path(fields["application"], alpha).write_text(rows_to_json(rows), encoding="utf-8")
        update_record(RECORDS_FOLDER / f"{module}.json", fields)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
