"""Import skops without the array libraries that its import of all modules of scikit-learn would load."""

from __future__ import annotations

import sys
from typing import Any

#: scikit-learn's adapters of these import them. torch alone takes seconds and half a gigabyte.
_UNUSED = ("torch", "cupy", "jax", "dask")


def import_skops() -> Any:
    """Return the module ``skops.io``. While it is imported, unused libraries cannot be imported."""
    hidden = [] if "skops.io" in sys.modules else [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # documented: makes imports fail
    try:
        import skops.io
    finally:
        for name in hidden:
            del sys.modules[name]
    return skops.io
