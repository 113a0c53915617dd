"""Describe a network in a file of the user's own: run as a child process, told on standard input what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from featx.backbones import keras_files
from featx.backbones.own import OwnNetwork
from featx.children import serve_task
from featx.engines import own_graphs

#: Where a network of any size is looked at if none is asked for: layers are the same at all, their shapes are not.
_ANY_SIZE = (224, 224)


def describe(task: dict[str, Any]) -> None:
    """Write the only size that the task's network takes, and its layers at the task's ``image_size``, into ``file``."""
    own = OwnNetwork(**task["own"])
    path, kind = Path(own.path), own.kind
    size = (task["image_size"][0], task["image_size"][1]) if task["image_size"] else None
    if kind == "keras":
        fixed, rows = keras_files.describe(path, size, _ANY_SIZE)
    else:
        network = own_graphs.read(path, kind)
        fixed = own_graphs.fixed_size(path, network)
        own_graphs.reshape(path, network, fixed or size or _ANY_SIZE)
        rows = own_graphs.layer_rows(path, network)
    own.refuse_if_changed()
    Path(task["file"]).write_text(json.dumps({"fixed_size": fixed, "layers": rows}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve_task(describe))
