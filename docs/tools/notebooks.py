"""Running the notebooks, and saving them with their outputs."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "notebooks"
#: Longest cell, in seconds.
_TIMEOUT = 300


def save(names: list[str]) -> int:
    """Run notebooks, all without names, in empty folders; save them with outputs and the seconds that they take."""
    nbformat: Any = importlib.import_module("nbformat")  # parts of it have no annotations

    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            notebook = nbformat.read(path, as_version=4)
            with tempfile.TemporaryDirectory() as folder:
                seconds, processor_seconds = execute(notebook, Path(folder))
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
            # The fewer of both are what an idle machine takes at most.
            notebook.metadata["seconds"] = round(min(seconds, processor_seconds))
            nbformat.write(notebook, path)
            print(f"{path.name}: {seconds:.0f} s, {processor_seconds:.0f} s of processors")
    return 0


def execute(notebook: Any, folder: Path) -> tuple[float, float]:
    """Run a notebook in a folder, with a new cache as for a user who has not set it.

    Return the seconds, and those of processors.
    """
    import nbclient

    start, before = time.perf_counter(), os.times()
    environment = {name: value for name, value in os.environ.items() if name != "FEATX_CACHE"}
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=_TIMEOUT, record_timing=False, resources=resources)
    client.execute(env=environment)
    after = os.times()
    processor_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, processor_seconds


def texts(notebook: Any) -> list[list[str]]:
    """Return the lines that each code cell prints, and the text of its value, without numbers."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            cells.append([_without_numbers(line) for line in "".join(parts).splitlines() if line.strip()])
    return cells


def _without_numbers(line: str) -> str:
    return " ".join(re.sub(r"\d[\d,.]*", "#", line).split())


def _is_progress(output: Any) -> bool:
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})
