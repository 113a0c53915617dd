"""Import OpenVINO, without its telemetry."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from featx.errors import EngineError


def import_openvino() -> Any:
    """Return the openvino module, without its telemetry.

    Importing openvino reports the import to its makers over the network; with its telemetry package
    hidden for the moment of the import it uses its own stub instead, and featx sends nothing anywhere.
    """
    hide = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if hide:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # documented: makes imports fail
    try:
        import openvino
    except Exception as error:  # a broken openvino fails with anything, from ImportError to RuntimeError
        raise EngineError(
            f"OpenVINO cannot be imported ({reason_of(error)}). Install it anew (pip install --force-reinstall "
            'openvino), or pass engine="keras" (--engine keras).'
        ) from error
    finally:
        if hide:
            del sys.modules["openvino_telemetry"]
    return openvino


def reason_of(error: Exception) -> str:
    """Return the last line of what OpenVINO says of an error, or its kind: those above are of its own insides."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def operations_of(openvino: Any) -> Any:
    """Return what graphs are built of; before 2025 it was elsewhere."""
    if hasattr(openvino, "opset8"):
        return openvino.opset8
    return importlib.import_module("openvino.runtime.opset8")
