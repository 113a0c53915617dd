"""Import OpenVINO without its telemetry."""

from __future__ import annotations

import importlib
from typing import Any

from featx.errors import EngineError
from featx.system.formatting import first_line
from featx.system.threads import hidden_modules


def import_openvino() -> Any:
    """Return the openvino module.

    Importing openvino reports the import to its vendor over the network. While its telemetry package is hidden,
    openvino uses its own stub instead, and featx sends nothing.

    Raises
    ------
    EngineError
        If openvino is missing or broken.
    """
    try:
        with hidden_modules("openvino", ["openvino_telemetry"]):
            import openvino
    except Exception as error:  # a broken openvino raises anything, from ImportError to RuntimeError
        raise EngineError(
            f"Cannot import OpenVINO: {openvino_reason(error)}. Reinstall it (pip install --force-reinstall openvino), "
            'or pass engine="keras" (--engine keras).'
        ) from error
    return openvino


def openvino_reason(error: Exception) -> str:
    """Return the last line of an error message of OpenVINO, or the kind of the error; the lines above are internals."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("Unable to read the model" in line for line in lines):  # the last line lists the formats of OpenVINO
        return "the file is corrupt, or has another format than its suffix"
    return first_line(RuntimeError(lines[-1])) if lines else type(error).__name__


def openvino_version(openvino: Any) -> str:
    """Return the version of OpenVINO without the number of its build."""
    return str(openvino.__version__).partition("-")[0]


def openvino_operations(openvino: Any) -> Any:
    """Return the module of graph operations, which had another place before OpenVINO 2025."""
    if hasattr(openvino, "opset8"):
        return openvino.opset8
    return importlib.import_module("openvino.runtime.opset8")
