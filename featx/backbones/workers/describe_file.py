"""Describe a network in a file of the user's own: run as a child process, told on standard input what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from featx.backbones.files import keras_file as keras_files
from featx.backbones.files import openvino_file as own_graphs
from featx.backbones.files.network_file import NetworkFile
from featx.system.child_process import serve_task


def describe(task: dict[str, Any]) -> None:
    """Write what is in the task's network, its layers at its ``image_size``, into its ``file``."""
    own = NetworkFile(**task["model_file"])
    path, kind = Path(own.path), own.kind
    size = (task["image_size"][0], task["image_size"][1]) if task["image_size"] else None
    found = keras_files.describe(path, size) if kind == "keras" else own_graphs.describe(path, kind, size)
    own.check_unchanged()
    Path(task["file"]).write_text(json.dumps(found._asdict()), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve_task(describe))
