"""Layer lists of Keras networks: from the data files, or from a child process that builds the network."""

from __future__ import annotations

import dataclasses
import functools
import json

from featx.backbones.layers import LayerInfo, as_layers, layers_path, read_layers
from featx.backbones.records import KerasRecord
from featx.system.child_process import run_child
from featx.system.files.temporary import temporary_folder


def known_layers(record: KerasRecord) -> tuple[LayerInfo, ...] | None:
    """Return the layers of a network at its default size from the data files; None if they have no list."""
    return read_layers(layers_path(record.application, record.alpha))


@functools.lru_cache(maxsize=16)
def describe_layers(record: KerasRecord, image_size: tuple[int, int]) -> tuple[LayerInfo, ...]:
    """Return the layers of a network at an image size; a child process takes seconds to build it."""
    with temporary_folder() as folder:
        file = folder / "layers.json"
        task = {"backbone": dataclasses.asdict(record), "image_size": list(image_size), "file": str(file)}
        run_child(
            "featx.backbones.workers.describe_application",
            task,
            f"listing the layers of {record.name!r}",
            "Reinstall tensorflow: pip install --force-reinstall tensorflow.",
        )
        return as_layers(json.loads(file.read_text(encoding="utf-8")))
