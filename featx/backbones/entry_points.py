"""Backbones that installed packages declare as entry points, so that every process knows them.

A package declares a backbone in its ``pyproject.toml``, as an instance or as a callable without arguments that returns
one. The name of the entry point is the name of the backbone::

    [project.entry-points."featx.backbones"]
    mean_color = "my_package:MeanColor"
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import warnings
from collections.abc import Container

from featx.backbones.base import Backbone
from featx.errors import FeatxWarning
from featx.system.formatting import first_line

GROUP = "featx.backbones"


def declared_names() -> list[str]:
    """Return the names of all backbones that installed packages declare; no package is imported."""
    return sorted(_entry_points())


def load_declared(name: str) -> Backbone | None:
    """Return the backbone that an installed package declares under a name.

    Parameters
    ----------
    name : str
        Name of the backbone.

    Returns
    -------
    Backbone or None
        None if no package declares the name, or if loading the backbone fails.

    Warns
    -----
    FeatxWarning
        If loading the backbone fails, once in a process.
    """
    point = _entry_points().get(name)
    return None if point is None else _load(point, _package_name(point))


def warn_taken_names(taken: Container[str]) -> None:
    """Warn of entry points with the name of a built-in backbone, which are ignored, once in a process.

    Warns
    -----
    FeatxWarning
    """
    for name, point in _entry_points().items():
        if name in taken:
            _warn_taken(point, _package_name(point))


@functools.cache
def _warn_taken(point: importlib.metadata.EntryPoint, package: str) -> None:
    warnings.warn(
        f"Ignored backbone {point.name!r} of package {package!r} (entry point {point.value!r} in group {GROUP!r}): a "
        "built-in backbone has this name. Rename the entry point, or uninstall the package.",
        FeatxWarning,
        stacklevel=2,
    )


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    points: dict[str, importlib.metadata.EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        points.setdefault(point.name, point)  # the package that comes first on the path wins
    return points


def _package_name(point: importlib.metadata.EntryPoint) -> str:
    """Return the name of the package that declares an entry point, as far as its metadata state it."""
    name = None
    with contextlib.suppress(Exception):  # incomplete metadata raise other errors in each version of Python
        name = point.dist and point.dist.name
    return name or "unknown"


@functools.cache
def _load(point: importlib.metadata.EntryPoint, package: str) -> Backbone | None:
    try:
        backbone = point.load()
        if not isinstance(backbone, Backbone):
            backbone = backbone()
        problem = _problem(backbone, point.name)
    except Exception as error:  # code of another package raises anything
        problem = f"{type(error).__name__}: {first_line(error)}."
    if not problem:
        return backbone  # type: ignore[no-any-return]
    warnings.warn(
        f"Cannot load backbone {point.name!r} of package {package!r} (entry point {point.value!r} in group {GROUP!r}): "
        f"{problem} All other backbones are available. Update or uninstall the package.",
        FeatxWarning,
        stacklevel=2,
    )
    return None


def _problem(backbone: object, name: str) -> str:
    """Return why an object cannot be the backbone of a name; an empty string if it can."""
    if not isinstance(backbone, Backbone):
        return f"it is of type {type(backbone).__name__}, not a featx.Backbone."
    if backbone.name != name:
        return f"its name is {backbone.name!r}, which must equal the name of the entry point."
    return backbone.registration_problem
