"""Devices that run a network: which one "auto" is, whether it is here, and sessions of ONNX Runtime on it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from featx.backbones.openvino_import import openvino_reason
from featx.errors import EngineError, FeatxWarning, OptionError, missing_dependency
from featx.system.formatting import format_list
from featx.system.processes import n_cores

#: Device: its provider in ONNX Runtime, and what to install for it.
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "'featx[gpu]'"),
    "tensorrt": ("TensorrtExecutionProvider", "'featx[gpu]' tensorrt"),
    "mps": ("CoreMLExecutionProvider", "onnxruntime"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
}
_DEVICE = re.compile(r"auto|cpu|mps|(cuda|tensorrt|directml)(:\d{1,3})?")
#: Precisions in which devices other than the CPU run a network.
DEVICE_PRECISIONS = ("float32", "float16")
_INSTEAD = 'pass device="cpu" (--device cpu)'


def check_device(device: object) -> None:
    """Raise an error if a device is not the name of one.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> check_device("gpu")
    Traceback (most recent call last):
    featx.errors.OptionError: device (--device) must be one of 'auto', 'cpu', 'cuda', 'tensorrt', 'mps', ..., got 'gpu'.
    """
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        names = ", ".join(map(repr, ("auto", *_PROVIDERS)))
        raise OptionError(
            f"device (--device) must be one of {names}, optionally followed by an index, such as 'cuda:1', "
            f"got {device!r}."
        )


def resolve_device(device: str, engine: str, precision: str) -> str:
    """Return the device that runs a network. ONNX Runtime is imported only for a device that is given by name.

    Parameters
    ----------
    device : str
        "auto": the first NVIDIA GPU if ONNX Runtime can use it in this precision, otherwise the CPU.
    engine : {"auto", "openvino", "keras", "onnxruntime"}
    precision : {"auto", "float32", "float16", "bfloat16", "int8"}

    Raises
    ------
    OptionError, EngineError
        If the device does not run this engine or precision, or is not on this machine.
    MissingDependencyError
        If onnxruntime is not installed.
    """
    fits = engine in ("auto", "onnxruntime") and precision in ("auto", *DEVICE_PRECISIONS)
    if device == "auto":
        return "cuda" if fits and has_cuda() else "cpu"
    if device == "cpu":
        return device
    if engine not in ("auto", "onnxruntime"):
        raise OptionError(
            f"engine (--engine) must be 'auto' or 'onnxruntime' for device {device!r}, got {engine!r}. Remove the "
            "option, or pass device='cpu'."
        )
    if not fits:
        raise OptionError(
            f'precision="{precision}" (--precision {precision}) requires device="cpu", got {device!r}. Pass '
            'precision="float16", or device="cpu" (--device cpu).'
        )
    provider_of(import_onnxruntime(device), device)
    return device


@functools.cache
def has_cuda() -> bool:
    """Return whether ONNX Runtime can use an NVIDIA GPU of this machine; it is not imported, and no GPU is started."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None or importlib.util.find_spec("onnx") is None:
        return False
    names = ("libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll")
    has_provider = any((Path(spec.origin).parent / "capi" / name).is_file() for name in names)
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return has_provider and not is_hidden and _n_nvidia_gpus() > 0


def _n_nvidia_gpus() -> int:
    """Return the number of GPUs that the driver reports, without starting CUDA, which would not survive a fork."""
    try:
        driver = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    is_counted = driver.nvmlInit_v2() == 0 and driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    return count.value if is_counted else 0


def import_onnxruntime(device: str) -> Any:
    """Return the onnxruntime module.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    EngineError
        If it is broken.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        what = 'engine="onnxruntime" (--engine onnxruntime)' if device == "cpu" else f"device={device!r}"
        instead = 'pass engine="auto"' if device == "cpu" else _INSTEAD
        raise missing_dependency(what, "onnxruntime", "'featx[gpu]'", instead) from error
    except Exception as error:
        raise EngineError(
            f"Cannot import ONNX Runtime: {openvino_reason(error)}. Reinstall it, or {_INSTEAD}."
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def provider_of(onnxruntime: Any, device: str) -> str:
    """Return the name of the provider of a device, which the installed ONNX Runtime has.

    Raises
    ------
    EngineError
        If it does not have the provider.
    """
    provider, package = _PROVIDERS[device.partition(":")[0]]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        known = [name for name, (other, _) in _PROVIDERS.items() if other in available]
        where = " on macOS" if provider == "CoreMLExecutionProvider" else ""
        raise EngineError(
            f"Cannot run a network on device {device!r}: ONNX Runtime {onnxruntime.__version__} has no {provider} "
            f"(its devices: {', '.join(known)}). Replace it{where} (pip uninstall onnxruntime; pip install {package}), "
            f"or {_INSTEAD}."
        )
    return provider


def make_session(model: bytes, device: str, *, half: bool, provider: str = "") -> Any:
    """Return an ``onnxruntime.InferenceSession`` that runs on a device.

    Parameters
    ----------
    model : bytes
        ONNX model.
    device : str
        Device, other than "auto".
    half : bool
        Whether the model computes in float16.
    provider : str, default=""
        Provider of ONNX Runtime. Empty: that of the device.

    Raises
    ------
    EngineError
        If the device is not on this machine, or runs no operation of the network.

    Warns
    -----
    FeatxWarning
        The CPU runs some operations of the network.
    """
    onnxruntime = import_onnxruntime(device)
    provider = provider or provider_of(onnxruntime, device)
    kind, _, number = device.partition(":")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors, such as a library of CUDA that is missing
    settings.intra_op_num_threads = n_cores() if kind in ("cpu", "mps") else 1  # the cores decode images meanwhile
    settings.enable_mem_pattern = kind != "directml"
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if kind in ("cuda", "tensorrt"):
        _load_cuda(onnxruntime)
    try:
        session = onnxruntime.InferenceSession(
            model, settings, providers=_with_options(kind, provider, number, half=half), enable_fallback=0
        )
    except Exception as error:  # each provider raises its own kinds
        raise EngineError(
            f"Cannot run the network on device {device!r}: {openvino_reason(error).rstrip('.')}. Check the device and "
            f"its driver, or {_INSTEAD}."
        ) from error
    if provider not in session.get_providers():  # ONNX Runtime goes on with the CPU
        raise EngineError(
            f"Cannot run the network on device {device!r}: ONNX Runtime {onnxruntime.__version__} could not start "
            f"{provider}. Check that the device is there and that its driver and libraries fit, or {_INSTEAD}."
        )
    if kind != "cpu":
        _check_assignment(session, device, provider)
    return session


_load_lock = threading.Lock()
_has_loaded_cuda = False


def _load_cuda(onnxruntime: Any) -> None:
    """Load the libraries of CUDA in Python packages, once in a process: standard output is redirected meanwhile."""
    global _has_loaded_cuda  # noqa: PLW0603
    with _load_lock:
        if not _has_loaded_cuda:
            with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
                onnxruntime.preload_dlls()
            _has_loaded_cuda = True


def _with_options(kind: str, provider: str, number: str, *, half: bool) -> list[tuple[str, dict[str, str]]]:
    """Return providers with their options: float32 is computed in float32, and always by the same kernels."""
    cuda = {"device_id": number or "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if kind == "tensorrt":
        own = {"device_id": number or "0", "trt_fp16_enable": str(int(half))}
        return [(provider, own), (_PROVIDERS["cuda"][0], cuda)]
    options = {
        "cuda": cuda,
        "directml": {"device_id": number or "0"},
        "mps": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"},
    }
    return [(provider, options.get(kind, {}))]


def _check_assignment(session: Any, device: str, provider: str) -> None:
    """Raise an error if a device runs nothing of the network, and warn if others run some of it."""
    nodes = [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    others = [(name, operation) for name, operation in nodes if name != provider]
    where = " and ".join(sorted({repr(_kind_of(name)) for name, _ in others}))
    if nodes and len(others) == len(nodes):
        raise EngineError(
            f"Cannot run the network on device {device!r}: it has none of the operations, and ONNX Runtime would run "
            f"them on device {where}. Pass device={_kind_of(others[0][0])!r} (--device {_kind_of(others[0][0])})."
        )
    if others or not nodes:
        operations = format_list(sorted({operation for _, operation in others}))
        warnings.warn(
            f"Device {where} runs {len(others):,} of {len(nodes):,} operations, because device {device!r} lacks them: "
            f"{operations}."
            if others
            else f"ONNX Runtime does not report whether device {device!r} runs the network. Compare the speed with "
            "device='cpu' (--device cpu).",
            FeatxWarning,
            stacklevel=2,
        )


def _kind_of(provider: str) -> str:
    """Return the name of the device of a provider."""
    return next((kind for kind, (name, _) in _PROVIDERS.items() if name == provider), provider)
