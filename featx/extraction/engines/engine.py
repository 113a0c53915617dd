"""Select an engine and a precision, and start the engine for a recipe."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import importlib.util
import os
import threading
import typing
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.registry import Backbone, DirectBackbone, NetworkBackbone
from featx.errors import EngineError, OptionError, missing_dependency
from featx.extraction.engines.archived_graph import ArchivedGraph, UnusableGraphError, sha256_of_graph
from featx.extraction.engines.capabilities import cpu_capabilities
from featx.extraction.engines.compile import load_known, load_or_compile
from featx.extraction.engines.fixed_batch import FixedBatches, check_batch_independence
from featx.recipe import Recipe
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from featx.system.terminal.progress import announce

EngineName = Literal["auto", "openvino", "keras", "onnxruntime"]
PrecisionName = Literal["auto", "float32", "float16", "bfloat16", "int8"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]
ENGINES: tuple[str, ...] = typing.get_args(EngineName)
PRECISIONS: tuple[str, ...] = typing.get_args(PrecisionName)
#: Precisions of engines that do not have all.
_ENGINE_PRECISIONS = {"keras": ("float32",), "onnxruntime": ("float32", "float16")}
#: Capability that OpenVINO must report for a precision other than float32.
_CAPABILITIES = {"float16": "FP16", "bfloat16": "BF16", "int8": "INT8"}
#: Variables that limit the instructions of OpenVINO's kernels, and values without bfloat16. OpenVINO still reports it.
_INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
#: Number of engines that stay started.
MAX_STARTED = 2


class Engine(Protocol):
    """A started network, from uint8 pixels to float32 rows."""

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return rows of shape (n_samples, n_features); any number of threads may call it."""


def resolve_engine(engine: str, backbone: Backbone, device: str = "cpu") -> str:
    """Return the name of the engine that runs a backbone; no engine is imported.

    Parameters
    ----------
    engine : {"auto", "openvino", "keras", "onnxruntime"}
        "auto": on the CPU, OpenVINO if it is installed, otherwise Keras; ONNX Runtime on other devices.
    backbone : Backbone
        Backbone to run.
    device : str, default="cpu"
        Device as :func:`featx.extraction.engines.onnx_runtime.device.resolve_device` returns it.

    Returns
    -------
    {"openvino", "keras", "onnxruntime", "direct"}
        "direct" for a backbone in plain Python.

    Raises
    ------
    MissingDependencyError
        If `engine` is "openvino" and it is not installed.
    OptionError
        If an engine is requested for a backbone in plain Python.
    """
    if isinstance(backbone, DirectBackbone):
        if engine != "auto":
            raise OptionError(
                f"engine (--engine) must be 'auto' for backbone {backbone.name!r}, got {engine!r}: the backbone is "
                "plain Python and needs no engine. Remove the option."
            )
        return "direct"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto" and device == "cpu":
        return "openvino" if installed else "keras"
    engine = "onnxruntime" if engine == "auto" else engine
    if engine in ("openvino", "onnxruntime") and not installed:  # ONNX Runtime runs graphs that OpenVINO reads
        raise missing_dependency(f'engine="{engine}" (--engine {engine})', "openvino", instead='pass engine="keras"')
    return engine


def resolve_precision(precision: PrecisionName, engine: str, device: str = "cpu") -> Precision:
    """Return the precision in which an engine computes.

    Parameters
    ----------
    precision : {"auto", "float32", "float16", "bfloat16", "int8"}
        "auto": bfloat16 if OpenVINO computes in it natively on this CPU, float16 on another device, otherwise float32.
    engine : {"openvino", "keras", "onnxruntime", "direct"}
        Engine as :func:`resolve_engine` returns it.
    device : str, default="cpu"
        Device as :func:`featx.extraction.engines.onnx_runtime.device.resolve_device` returns it.

    Returns
    -------
    {"float32", "float16", "bfloat16", "int8"}
        Precision of the computation.

    Raises
    ------
    OptionError
        If the engine does not compute in `precision`.
    """
    if precision == "auto" and device != "cpu":
        return "float16"
    if precision == "auto":
        return "bfloat16" if engine == "openvino" and has_native_bfloat16() else "float32"
    if precision != "float32" and engine == "direct":
        raise OptionError(
            f'precision="{precision}" (--precision {precision}) requires a network, got a backbone in plain Python. '
            'Pass precision="float32", or remove the option.'
        )
    if precision not in _ENGINE_PRECISIONS.get(engine, PRECISIONS):
        raise OptionError(
            f'precision="{precision}" (--precision {precision}) requires engine="openvino", got {engine!r}, which '
            f'computes in {" or ".join(_ENGINE_PRECISIONS[engine])}. Pass precision="float32", or engine="openvino".'
        )
    return precision


def has_native_bfloat16() -> bool:
    """Return whether OpenVINO computes in bfloat16 natively on this CPU; OpenVINO is queried once on each machine."""
    return is_supported("bfloat16")


def check_supported(precision: str) -> None:
    """Raise an error if OpenVINO does not compute in a precision natively on this CPU; it might end the process.

    Raises
    ------
    EngineError
        If the CPU lacks the precision.
    """
    if not is_supported(precision):
        raise EngineError(
            f"Cannot compute features in {precision}: this CPU does not support it, or an environment variable "
            'disables it. Rows in the cache need no computation. For others, pass precision="float32" (--precision '
            "float32), which changes the features slightly."
        )


def is_supported(precision: str) -> bool:
    """Return whether OpenVINO computes in a precision natively on this CPU."""
    limits = {os.environ.get(name, "").upper() for name in _INSTRUCTION_LIMITS}
    if precision == "bfloat16" and limits & _WITHOUT_BFLOAT16:
        return False
    return precision == "float32" or _CAPABILITIES[precision] in cpu_capabilities()


class _StartedEngines:
    """Engines that are started in this process, and whether the process was forked after a start.

    Threads of an engine do not survive a fork.
    """

    def __init__(self) -> None:
        #: Of the dictionaries, which are never locked while a network starts: others must not wait for a conversion.
        self.lock = threading.Lock()
        #: One for each network, so that it is started once.
        self.start_locks: dict[tuple[str, ...], threading.Lock] = {}
        self.engines: collections.OrderedDict[tuple[str, ...], Engine] = collections.OrderedDict()
        #: All that somebody holds, such as a Predictor, also if others were used later.
        self.held: weakref.WeakValueDictionary[tuple[str, ...], Engine] = weakref.WeakValueDictionary()
        #: Whether the package or a folder has the same graph as a model file.
        self.known: dict[tuple[str, ...], bool] = {}
        self.has_begun = False
        self.is_forked = False

    def find(self, key: tuple[str, ...], network: tuple[str, ...] | None) -> Engine | None:
        """Return the engine of a key, or any one of a network; it counts as used last."""
        with self.lock:
            running: dict[tuple[str, ...], Engine] = {**dict(self.held.items()), **self.engines}
            same = [key for key in running if key[:-1] == network]
            found = next((found for found in (*same, key) if found in running), None)
            return None if found is None else self._use(found, running[found])

    def add(self, key: tuple[str, ...], engine: Engine) -> Engine:
        """Add an engine and return it."""
        with self.lock:
            return self._use(key, engine)

    def start_lock(self, network: tuple[str, ...]) -> threading.Lock:
        """Return the lock to hold while a network starts."""
        with self.lock:
            return self.start_locks.setdefault(network, threading.Lock())

    def _use(self, key: tuple[str, ...], engine: Engine) -> Engine:
        self.engines[key] = self.held[key] = engine
        self.engines.move_to_end(key)
        while len(self.engines) > MAX_STARTED:
            self.engines.popitem(last=False)
        return engine

    def after_fork(self) -> None:
        """Adjust the state in a forked child process."""
        self.is_forked = self.is_forked or self.has_begun
        self.lock, self.start_locks = threading.Lock(), {}  # another thread may have held one
        for engine in {**dict(self.held.items()), **self.engines}.values():
            # Its destructor would wait for threads that do not exist here: it must never run.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


_started = _StartedEngines()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_started.after_fork)


def check_not_forked(backbone: Backbone) -> None:
    """Raise an error if this process cannot run a network because it was forked from one that has run one.

    Raises
    ------
    EngineError
        If the process was forked after an engine was started, and `backbone` requires an engine.
    """
    if _started.is_forked and not isinstance(backbone, DirectBackbone):
        raise EngineError(
            "Cannot run a network in a process that was forked after a network ran: its threads do not survive the "
            "fork. With gunicorn --preload, create the Predictor in post_fork, or remove --preload. Elsewhere, use "
            'joblib\'s "loky" or multiprocessing\'s "spawn", or extract features before forking: cached rows '
            "need no network."
        )


def start_engine(
    backbone: Backbone,
    recipe: Recipe,
    weights_path: Path | None,
    engine: str,
    compiled: Path | None,
    *,
    device: str = "cpu",
    batch_size: int = COMPILED_BATCH_SIZE,
    archived: ArchivedGraph | None = None,
    while_starting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Engine:
    """Return a started engine for a recipe. The engines that were used last, and those that are held, stay started.

    Parameters
    ----------
    backbone : Backbone
        Backbone to run.
    recipe : Recipe
        Recipe of the rows.
    weights_path : Path or None
        Path of the weights, which is read only if the network is not compiled yet. None for random weights and for
        backbones without weights.
    engine : {"openvino", "keras", "onnxruntime", "direct"}
        Engine as :func:`resolve_engine` returns it.
    compiled : Path or None
        Folder of compiled graphs; None: no caching on disk.
    device : str, default="cpu"
        Device that runs the network.
    batch_size : int, default=8
        Number of images of a batch on another device than the CPU.
    archived : ArchivedGraph or None, default=None
        Graph in a model file, which is used whatever `compiled` has: others may share that folder. None: the graph is
        that of the package or of `compiled`, or the network is converted.
    while_starting : callable, default=contextlib.nullcontext
        Returns a context in which the engine is started; it is not called if the engine is started already.

    Returns
    -------
    Engine
        Function from pixels to rows.

    Raises
    ------
    EngineError
        If the network cannot run here, this CPU lacks the precision, or this process was forked from one that has
        run a network.
    UnusableGraphError
        If `archived` is corrupt.
    """
    if isinstance(backbone, DirectBackbone):
        return backbone.extract
    check_not_forked(backbone)
    assert isinstance(backbone, NetworkBackbone)
    if engine == "openvino":
        check_supported(recipe.precision)
    place = (device, str(batch_size if device != "cpu" else COMPILED_BATCH_SIZE))
    network = (engine, recipe.graph_fingerprint, recipe.pooling, recipe.precision, *place)
    # The folder is part of the key, so that a second cache gets the compiled graph as well.
    key: tuple[str, ...] = (*network, str(compiled.resolve()) if compiled else "")
    is_own = archived is not None and not _is_known(backbone, recipe, compiled, (*key, archived.sha256))
    if is_own and archived is not None:
        key = (*key, archived.sha256)  # other files, and rows for the cache, do not use this engine
    find = functools.partial(_started.find, key, network if compiled is None and not is_own else None)
    if started := find():
        return started
    with while_starting(), _started.start_lock(network):
        if started := find():  # another thread has started it meanwhile
            return started
        _started.has_begun = True
        make_graph = functools.partial(
            _make_graph, backbone, recipe, weights_path, compiled, archived=archived, is_own=is_own
        )
        try:
            started = _start(backbone, recipe, weights_path, engine, make_graph, place=place)
        except UnusableGraphError:
            _started.known[key] = True  # later calls find the engine that is started from the weights instead
            raise
        if isinstance(started, FixedBatches):
            started.is_from_model_file = is_own
        return _started.add(key, started)


def _make_graph(
    backbone: NetworkBackbone,
    recipe: Recipe,
    weights_path: Path | None,
    compiled: Path | None,
    *,
    archived: ArchivedGraph | None,
    is_own: bool,
) -> Graph:
    """Return the graph to start: that of a model file, if it is another than that of the package or the folder."""
    if archived is None:
        return load_or_compile(backbone, recipe, weights_path, compiled)
    return (None if is_own else load_known(backbone, recipe, compiled)) or archived.load()


def _is_known(backbone: NetworkBackbone, recipe: Recipe, compiled: Path | None, key: tuple[str, ...]) -> bool:
    """Return whether the package or a folder has the graph of a model file, whose SHA-256 ends the key."""
    if key not in _started.known:
        graph = load_known(backbone, recipe, compiled)
        _started.known[key] = graph is not None and sha256_of_graph(graph) == key[-1]
    return _started.known[key]


def stop_engines() -> None:
    """Forget all engines of this process, so that the next use starts its network again.

    The memory of an engine is freed when nothing holds it any more, such as a :class:`featx.Predictor`.
    """
    with _started.lock:
        _started.known.clear()
        _started.engines.clear()
        _started.held.clear()


def note_start() -> None:
    """Record that this process runs a network, which processes that are forked from it cannot do."""
    _started.has_begun = True


def count_started() -> int:
    """Return the number of engines that are started in this process."""
    return len(_started.engines)


def has_begun_to_start() -> bool:
    """Return whether a network was started in this process, or is being started."""
    return _started.has_begun


def _start(
    backbone: NetworkBackbone,
    recipe: Recipe,
    weights_path: Path | None,
    engine: str,
    make_graph: Callable[[], Graph],
    *,
    place: tuple[str, str],
) -> Engine:
    if engine == "keras":
        from featx.extraction.engines.keras import KerasEngine

        started = KerasEngine(backbone.build(recipe, weights_path))
        if backbone.is_model_file:  # built-in networks are known to be independent
            check_batch_independence(lambda batch: [started(batch)], recipe.image_size, repr(backbone.name))
        return started
    arguments = (make_graph(), recipe.layers, recipe.pooling, recipe.precision, recipe.image_size)
    if engine == "onnxruntime":
        from featx.extraction.engines.onnx_runtime.engine import OnnxRuntimeEngine

        if place[0] != "cpu":
            announce(
                f"Running {backbone.name} on device {place[0]} in {recipe.precision}, {place[1]} images at a time. For "
                'the CPU, pass device="cpu" (--device cpu).'
            )
        return OnnxRuntimeEngine(*arguments, device=place[0], batch_size=int(place[1]))
    from featx.extraction.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(*arguments)
