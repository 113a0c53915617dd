"""Every network of keras.applications, as featx knows them without importing Keras: read from ``networks.json``."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from featx.backbones.keras_application import KerasBackbone

NETWORKS_FILE = Path(__file__).parent / "data" / "networks.json"
#: Weights that come with featx: the file, and its SHA-256.
_BUNDLED: dict[str, dict[str, Any]] = {
    "mobilenet": {
        "bundled": "mobilenet_1_0_224_tf_no_top.weights.h5",
        "bundled_digest": "9c4fd7b47b2e4952c65b68c7218579d0ab1a98a77742effefd238f2326cf64c6",
    }
}


@functools.cache
def known_networks() -> tuple[KerasBackbone, ...]:
    """Return the networks that featx knows by name, read once."""
    return tuple(read_networks())


def read_networks() -> list[KerasBackbone]:
    """Return the networks, in the order of their names; :mod:`featx.backbones.workers.survey` writes the file."""
    networks = json.loads(NETWORKS_FILE.read_text(encoding="utf-8"))
    return [KerasBackbone(**fields, **_BUNDLED.get(fields["name"], {})) for fields in networks]
