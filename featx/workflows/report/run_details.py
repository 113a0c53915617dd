"""Details of the run that computed a result: recipes, rates, machine and versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from typing import Any

from featx.system.formatting import format_count, shorten_middle
from featx.system.processes import n_cores
from featx.system.version import __version__
from featx.workflows.report.inputs import ReportedBackbone

_PACKAGES = ("numpy", "scikit-learn", "openvino", "onnxruntime", "tensorflow", "keras", "timm", "torch", "bokeh")


def extraction_details(backbones: Sequence[ReportedBackbone]) -> list[dict[str, Any]]:
    """Return the recipe of each backbone, and how fast it was extracted."""
    return [
        {
            "name": backbone.name,
            "recipe": json.dumps(backbone.resolved.recipe.as_dict(), sort_keys=True),
            "license": getattr(backbone.resolved, "license", ""),  # unknown for stored features
            "fingerprint": backbone.resolved.recipe.fingerprint,
            "engine": getattr(backbone.resolved, "engine_and_device", backbone.resolved.engine),
            "n_computed": backbone.n_computed,
            "seconds": backbone.seconds,
            "rate": backbone.n_computed / backbone.seconds if backbone.seconds else 0,
        }
        for backbone in backbones
    ]


def environment_details(command: str, seconds: float | None, thumbnails: str) -> list[tuple[str, str]]:
    """Return command, date, machine and versions as pairs of name and value.

    Parameters
    ----------
    command : str
        Command that repeats the run, or "".
    seconds : float or None
        Duration of the run.
    thumbnails : str
        Number and size of the thumbnails.
    """
    return [
        *([("command", shorten_middle(command, 2000))] if command else []),
        ("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
        *([] if seconds is None else [("duration", f"{seconds:.1f} s")]),
        ("machine", f"{platform.system()} {platform.machine()}, {format_count(n_cores(), 'core')}"),
        ("featx", __version__),
        ("Python", platform.python_version()),
        *_package_versions(_PACKAGES),
        ("thumbnails", thumbnails),
    ]


def _package_versions(packages: Sequence[str]) -> list[tuple[str, str]]:
    versions = []
    for package in packages:
        try:
            versions.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
