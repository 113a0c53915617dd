"""Ask OpenVINO what it computes natively on this CPU, and remember the answer: cached rows need no import of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform

from featx.backbones.files.display_name import network_cache_folder
from featx.backbones.openvino_import import import_openvino
from featx.system.files.atomic import make_folder, write_text
from featx.system.files.checksummed_json import CORRUPT, dump, load
from featx.system.processes import processor_fields


@functools.cache
def cpu_capabilities() -> frozenset[str]:
    """Return what OpenVINO reports of this CPU, such as "BF16" and "INT8".

    The answer is kept in the user's cache folder, by processor and installation of OpenVINO.
    """
    path = network_cache_folder().parent / "processors" / f"{_processor_digest()}.json"
    with contextlib.suppress(OSError, *CORRUPT):
        return frozenset(load(path)["capabilities"])
    capabilities = frozenset(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    with contextlib.suppress(OSError):  # without a writable folder, OpenVINO is queried again
        make_folder(path.parent)
        write_text(path, dump({"capabilities": sorted(capabilities)}))
    return capabilities


def _processor_digest() -> str:
    """Return a digest of this processor and of the installed OpenVINO, which is not imported."""
    spec = importlib.util.find_spec("openvino")
    installed = f"{spec.origin} {os.stat(spec.origin).st_mtime_ns}" if spec and spec.origin else ""
    kept = [line for line in processor_fields() if line.startswith(("model name", "flags", "Features"))]
    processor = platform.machine() + "\n".join(kept)
    return hashlib.blake2b(f"{installed}\n{processor}".encode(), digest_size=8).hexdigest()
