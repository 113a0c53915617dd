"""Child process that converts text towers; it reads its task from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from featx.backbones.openvino_import import import_openvino
from featx.backbones.torch.names import TorchName
from featx.backbones.torch.worker import SEED
from featx.system.child_process import report_step, serve_task


def convert(task: dict[str, Any]) -> None:
    """Write ``graph.xml`` and ``graph.bin`` of a text tower into the task's folder."""
    import torch

    from featx.backbones.torch.text.open_clip_text import build_graph

    report_step("loading the network")
    torch.manual_seed(SEED)  # the random weights of the image tower
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    graph = build_graph(TorchName(**task["torch"]["name"]), weights_path)
    report_step("writing the graph")
    import_openvino().save_model(graph, Path(task["folder"]) / "graph.xml", compress_to_fp16=False)


if __name__ == "__main__":
    sys.exit(serve_task(convert))
