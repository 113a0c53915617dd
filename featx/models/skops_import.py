"""Import skops without the array libraries that its import of all modules of scikit-learn would load."""

from __future__ import annotations

from typing import Any

from featx.system.threads import hidden_modules

#: scikit-learn's adapters of these import them. torch alone takes seconds and half a gigabyte.
_UNUSED = ("torch", "cupy", "jax", "dask")


def import_skops() -> Any:
    """Return the module ``skops.io``. While it is imported, unused libraries cannot be imported."""
    with hidden_modules("skops.io", _UNUSED):
        import skops.io
    return skops.io
