"""Describe a custom model file, in a child process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from featx.backbones.files import keras_file, openvino_file
from featx.backbones.files.model_source import ModelSource
from featx.system.child_process import serve_task


def describe(task: dict[str, Any]) -> None:
    """Write the description of the task's ``model_file``, with layers at its ``image_size``, into its ``file``."""
    source = ModelSource(**task["model_file"])
    path = Path(source.path)
    size = (task["image_size"][0], task["image_size"][1]) if task["image_size"] else None
    if source.kind == "keras":
        description = keras_file.describe(path, size)
    else:
        description = openvino_file.describe(path, source.kind, size)
    source.check_unchanged()
    Path(task["file"]).write_text(json.dumps(description.as_dict()), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve_task(describe))
