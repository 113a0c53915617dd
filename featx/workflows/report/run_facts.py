"""What was run: recipes, rates, the machine, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.system.formatting import format_count, shorten_middle
from featx.system.processes import n_cores
from featx.system.version import __version__

if TYPE_CHECKING:
    from featx.workflows.result import Network

_PACKAGES = ("numpy", "scikit-learn", "openvino", "tensorflow", "keras", "bokeh")


def runs(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Return what each network did, and its recipe."""
    found = []
    for network in networks:
        rate = network.n_computed / network.seconds if network.seconds else 0
        found.append(
            {
                "name": network.name,
                "recipe": json.dumps(network.resolved.recipe.as_dict(), sort_keys=True),
                "fingerprint": network.resolved.recipe.fingerprint,
                "engine": network.resolved.engine,
                "computed": network.n_computed,
                "seconds": network.seconds,
                "rate": rate,
            }
        )
    return found


def facts(command: str, seconds: float | None, thumbnails: str) -> list[tuple[str, str]]:
    """Return what was run, when, on what and with which versions, by name."""
    return [
        *([("command", shorten_middle(command, 2000))] if command else []),
        ("made on", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
        *([] if seconds is None else [("took", f"{seconds:.1f} s")]),
        ("machine", f"{platform.system()} {platform.machine()}, {format_count(n_cores(), 'core')}"),
        ("featx", __version__),
        ("Python", platform.python_version()),
        *_versions(_PACKAGES),
        ("thumbnails", thumbnails),
    ]


def _versions(packages: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for package in packages:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
