"""Measured extraction rates of this machine, stored in the cache for ``featx backbones``."""

from __future__ import annotations

import json
from pathlib import Path

from featx.store.layout import RATES
from featx.system.files.atomic import make_folder, write_text
from featx.system.processes import processor_name


def read_rates(cache: Path | None) -> dict[str, float]:
    """Return the images per second of each backbone, from files to features, as measured on this processor."""
    return {} if cache is None else _read_all(cache).get(processor_name(), {})


def save_rates(cache: Path, rates: dict[str, float]) -> None:
    """Store rates that were measured on this machine, next to those of other backbones and processors.

    Raises
    ------
    OSError
    """
    stored = _read_all(cache)
    stored[processor_name()] = {
        **stored.get(processor_name(), {}),
        **{name: round(rate, 1) for name, rate in rates.items()},
    }
    make_folder(cache)
    write_text(cache / RATES, json.dumps(stored, indent=1, sort_keys=True) + "\n")


def _read_all(cache: Path) -> dict[str, dict[str, float]]:
    """Return the rates of all processors; empty if there are none, or the file is corrupt."""
    try:
        content = json.loads((cache / RATES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        name: {backbone: float(rate) for backbone, rate in rates.items() if isinstance(rate, int | float)}
        for name, rates in content.items()
        if isinstance(rates, dict)
    }
