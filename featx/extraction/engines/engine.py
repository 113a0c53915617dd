"""Run a backbone on pixels: which engine and precision, and a started engine for a recipe."""

from __future__ import annotations

import collections
import ctypes
import importlib.util
import os
import platform
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from featx.backbones.registry import Backbone, DirectBackbone, NetworkBackbone
from featx.errors import EngineError, MissingDependencyError
from featx.extraction.engines.fixed_batch import check_batch_independence
from featx.recipe import Recipe

ENGINES = ("auto", "openvino", "keras")
PRECISIONS = ("auto", "float32", "bfloat16")
_KEPT = 2

_lock = threading.Lock()
_started: collections.OrderedDict[tuple[str, ...], Engine] = collections.OrderedDict()
#: Whether a network has been started here, or begun to be.
_has_begun = False
#: Whether this process was forked from one of which that was true: its threads did not come along.
_is_forked = False


class Engine(Protocol):
    """A started network: uint8 pixels (n, height, width, 3) in, float32 rows (n, n_features) out."""

    def __call__(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the rows; any n, any number of threads."""


def resolve_engine(engine: str, backbone: Backbone) -> str:
    """Return the name of the engine that will run, importing none.

    ``"auto"`` is OpenVINO where it is installed, else Keras; a plain Python backbone is ``"direct"``.

    Raises
    ------
    MissingDependencyError
        OpenVINO was asked for and is not installed.
    """
    if isinstance(backbone, DirectBackbone):
        return "direct"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto":
        return "openvino" if installed else "keras"
    if engine == "openvino" and not installed:
        raise MissingDependencyError(
            'engine="openvino" needs the package openvino, which is not installed. '
            'Install it: pip install openvino; or pass engine="keras".'
        )
    return engine


def resolve_precision(precision: str, engine: str) -> str:
    """Return ``"float32"`` or ``"bfloat16"`` for a resolved engine.

    ``"auto"`` is bfloat16 where OpenVINO runs it natively on this CPU, and float32 elsewhere.

    Raises
    ------
    EngineError
        bfloat16 was asked of an engine that computes in float32 only.
    """
    if precision == "auto":
        return "bfloat16" if engine == "openvino" and has_native_bfloat16() else "float32"
    if precision == "bfloat16" and engine != "openvino":
        raise EngineError(
            f'precision="bfloat16" needs engine="openvino"; engine {engine!r} computes in float32. '
            'Pass precision="float32", or engine="openvino".'
        )
    return precision


def has_native_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 natively, as far as the system tells without OpenVINO.

    Linux on x86 tells; elsewhere the answer is no, and ``precision="bfloat16"`` can be asked for.
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def check_not_forked(backbone: Backbone) -> None:
    """Raise if this process cannot run a network, being forked from one that has; before it waits for anything.

    Raises
    ------
    EngineError
    """
    if _is_forked and not isinstance(backbone, DirectBackbone):
        raise EngineError(
            "This process was forked from one that has run a network, whose threads do not survive that. Start it "
            'another way (joblib\'s "loky", multiprocessing\'s "spawn"), or extract before forking: rows that are in '
            "the cache need no network."
        )


def start_engine(
    backbone: Backbone, recipe: Recipe, weights_path: Path | None, engine: str, compiled: Path | None
) -> Engine:
    """Return a running engine for a recipe; the last two stay alive, so the next call is free.

    Parameters
    ----------
    backbone : Backbone
    recipe : Recipe
    weights_path : Path or None
        Read only where the network is not compiled yet; None where there are none, or random ones.
    engine : {"openvino", "keras", "direct"}
        As :func:`resolve_engine` returned it.
    compiled : Path or None
        Folder for compiled graphs; None compiles anew and keeps nothing on disk.

    Raises
    ------
    EngineError
        The network cannot run here, or this process was forked from one that had run it.
    """
    global _has_begun  # noqa: PLW0603  # a fork is to know, also one in mid-start
    if isinstance(backbone, DirectBackbone):
        return backbone.extract
    check_not_forked(backbone)
    assert isinstance(backbone, NetworkBackbone)
    # The folder belongs to the key: a second cache is to get the compiled graph as well.
    network = (engine, recipe.graph_fingerprint, recipe.pooling, recipe.precision)
    key: tuple[str, ...] = (*network, str(compiled.resolve()) if compiled else "")
    with _lock:
        if compiled is None:
            key = next((started for started in _started if started[:-1] == network), key)
        if key not in _started:
            _has_begun = True
            _started[key] = _start(backbone, recipe, weights_path, engine, compiled)
        _started.move_to_end(key)
        while len(_started) > _KEPT:
            _started.popitem(last=False)
        return _started[key]


def _after_fork() -> None:
    global _is_forked, _lock  # noqa: PLW0603  # what was true of the parent is not true here
    _is_forked = _is_forked or _has_begun
    _lock = threading.Lock()  # another thread may have held it
    for engine in _started.values():
        # Its destructor would wait for threads that are not here: it must outlive even the interpreter.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _start(
    backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None, engine: str, compiled: Path | None
) -> Engine:
    if engine == "keras":
        from featx.extraction.engines.keras import KerasEngine

        started = KerasEngine(backbone.build(recipe, weights_path))
        if backbone.is_model_file:  # all others are known
            check_batch_independence(lambda batch: [started(batch)], recipe.image_size, repr(backbone.name))
        return started
    from featx.extraction.engines.compile import load_or_compile
    from featx.extraction.engines.openvino import OpenVinoEngine

    graph = load_or_compile(backbone, recipe, weights_path, compiled)
    return OpenVinoEngine(graph, recipe.layers, recipe.pooling, recipe.precision)
