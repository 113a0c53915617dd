"""How fast networks were on this machine when they were last measured, kept beside the compiled graphs."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from featx.store.layout import RATES
from featx.system.files.atomic import make_folder, write_text


def processor() -> str:
    """Return the name of this machine's processor."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux: the platform's own word is what there is
        return name
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)


def read_rates(cache: Path | None) -> dict[str, float]:
    """Return images/s from files to features, by backbone, as measured on this machine; empty where nothing was."""
    return {} if cache is None else _read(cache).get(processor(), {})


def save_rates(cache: Path, rates: dict[str, float]) -> None:
    """Keep what was measured on this machine.

    Raises
    ------
    OSError
    """
    kept = _read(cache)
    kept[processor()] = {**kept.get(processor(), {}), **{name: round(rate, 1) for name, rate in rates.items()}}
    make_folder(cache)
    write_text(cache / RATES, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def _read(cache: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads((cache / RATES).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not measured yet, or damaged: it is measured again
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: {network: float(rate) for network, rate in rates.items() if isinstance(rate, int | float)}
        for name, rates in found.items()
        if isinstance(rates, dict)
    }
