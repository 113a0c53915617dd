"""A text tower that runs: its graph is converted once by a child process and cached on disk."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE, DirectBackbone, NetworkBackbone
from featx.backbones.openvino_import import import_openvino, openvino_reason, openvino_version
from featx.backbones.torch.text.tokenizer import Tokenizer, check_tokenizers_installed
from featx.errors import EngineError
from featx.extraction.engines.compile import how_often, keep_graph, run_worker
from featx.extraction.engines.engine import check_not_forked, note_start
from featx.extraction.options import Resolved
from featx.recipe import TextRecipe
from featx.store.compiled_graphs import Graph, load_graph
from featx.system.array_types import FloatArray
from featx.system.terminal.progress import announce, stage


class TextTower:
    """Run a graph from tokens to rows.

    Parameters
    ----------
    graph : Graph
        Network for `COMPILED_BATCH_SIZE` texts, which contains its tokenizer.

    Raises
    ------
    EngineError
        If OpenVINO cannot run the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._lock = threading.Lock()
        openvino = import_openvino()
        try:
            core = openvino.Core()
            network = core.read_model(model=graph.xml, weights=graph.bin)
            self._tokenizer = Tokenizer.from_text(network.get_rt_info(["featx", "tokenizer"]).astype(str))
            settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
            self._request = core.compile_model(network, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO {openvino_version(openvino)} cannot run the text tower: {openvino_reason(error)}. Install "
                "another version of openvino."
            ) from error

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Return the rows of texts. Several threads may call it. The last batch is padded: rows are independent."""
        tokens = self._tokenizer.tokenize(texts)
        padding = np.repeat(tokens[:1], -len(tokens) % COMPILED_BATCH_SIZE, axis=0)
        batches = np.concatenate([tokens, padding]).reshape(-1, COMPILED_BATCH_SIZE, tokens.shape[1])
        with self._lock:  # threads share the request
            rows = [np.array(self._request.infer([batch], share_outputs=True)[0]) for batch in batches]
        return np.concatenate(rows)[: len(tokens)]


def start_text_tower(
    resolved: Resolved, recipe: TextRecipe, cache: Path | None
) -> Callable[[Sequence[str]], FloatArray]:
    """Return a function from texts to rows.

    Parameters
    ----------
    resolved : Resolved
        Backbone and weights.
    recipe : TextRecipe
        Recipe of the rows.
    cache : Path or None
        Cache folder. None: the conversion is repeated in each process.

    Raises
    ------
    EngineError
        If the tower cannot be converted or run.
    MissingDependencyError
        If a package is not installed.
    """
    if isinstance(resolved.backbone, DirectBackbone):
        return functools.partial(_extract_directly, resolved.backbone)
    check_not_forked(resolved.backbone)
    check_tokenizers_installed(resolved.backbone.name)
    note_start()
    return _start(resolved.backbone, recipe, resolved.weights_path, cache / "compiled" if cache else None)


def _extract_directly(backbone: Any, texts: Sequence[str]) -> FloatArray:
    """Return the rows of texts by a backbone in plain Python."""
    rows: FloatArray = np.asarray(backbone.extract_texts(list(texts)), dtype=np.float32)
    expected = (len(texts), backbone.n_features("native"))
    if rows.shape != expected:
        raise EngineError(
            f"extract_texts of backbone {backbone.name!r} must return an array of shape {expected}, got {rows.shape}. "
            "Return one row for each text."
        )
    return rows


@functools.lru_cache(maxsize=1)  # the last one stays started
def _start(backbone: Any, recipe: TextRecipe, weights_path: Path | None, folder: Path | None) -> TextTower:
    graph = load_graph(folder, recipe.fingerprint) if folder is not None else None
    if graph is None:
        graph = _convert(backbone, weights_path, folder)
        if folder is not None:
            keep_graph(graph, folder, recipe.fingerprint)
    return TextTower(graph)


def _convert(backbone: NetworkBackbone, weights_path: Path | None, folder: Path | None) -> Graph:
    announce(f"Converting the text tower of {backbone.name}, which takes 5 to 60 seconds. {how_often(folder)}")
    task = {**backbone.as_task(), "weights_path": str(weights_path.resolve()) if weights_path else None}
    with stage("convert", 2, "steps", backbone.name) as progress:
        return run_worker(
            "featx.backbones.torch.text.text_worker",
            task,
            {},
            f"converting the text tower of {backbone.name!r}",
            "Reinstall torch and open_clip together: pip install --force-reinstall 'featx[clip]'.",
            on_step=progress.begin_step,
        )
