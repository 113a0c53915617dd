"""List the layers of one network of ``keras.applications``, in a child process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from featx.backbones.keras.builder import build_empty
from featx.backbones.keras.graph import layer_rows, rows_to_json
from featx.backbones.records import KerasRecord
from featx.system.child_process import serve_task


def describe(task: dict[str, Any]) -> None:
    """Write the layers of the task's ``backbone`` at its ``image_size`` into its ``file``."""
    network = build_empty(KerasRecord(**task["backbone"]), tuple(task["image_size"]))
    Path(task["file"]).write_text(rows_to_json(layer_rows(network)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(serve_task(describe))
