"""Descriptions of networks and catalogs of libraries, made by a child process and cached in the user's cache folder."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from featx.backbones.digests import sha256_of
from featx.backbones.files.display_name import network_cache_folder
from featx.backbones.torch.description import Configuration, TorchDescription, as_configuration
from featx.backbones.torch.names import LIBRARIES, TorchName
from featx.system.child_process import run_child
from featx.system.files.atomic import make_folder, write_text
from featx.system.files.temporary import temporary_folder

#: Revision of descriptions. Increase it whenever a description of the same network changes.
_REVISION = 2
_WORKER = "featx.backbones.torch.worker"
_Result = TypeVar("_Result")
#: Distribution of each library, whose version is part of the name of a cached file.
_DISTRIBUTIONS = {"timm": "timm", "torchvision": "torchvision", "open_clip": "open_clip_torch"}


@functools.lru_cache(maxsize=64)
def describe(name: TorchName, image_size: tuple[int, int] | None, config: Path | None) -> TorchDescription:
    """Return what is known about a network at an image size.

    Parameters
    ----------
    name : TorchName
        Network to describe.
    image_size : tuple of (int, int) or None
        Height and width. None: the default of the network.
    config : Path or None
        Configuration of a model of the hub.

    Raises
    ------
    UnknownBackboneError
        If the library has no such network or weights.
    OptionError
        If the network does not accept images of this size.
    MissingDependencyError
        If the library is not installed, and the network was not described before.
    """
    digest = sha256_of(config) if config else ""
    key = hashlib.sha256(json.dumps([name.text, image_size, digest]).encode()).hexdigest()[:32]
    task = {
        "action": "describe",
        "name": dataclasses.asdict(name),
        "image_size": image_size and list(image_size),
        "config": str(config) if config else None,
    }
    return _cached(name, f"torch-{key}", task, f"reading the network {name.text!r}", TorchDescription.from_dict)


def catalog(library: str) -> list[tuple[Configuration, str]]:
    """Return each network that an installed library has weights for, with its architecture."""
    task = {"action": "catalog", "library": library}

    def parse(rows: Any) -> list[tuple[Configuration, str]]:
        return [(as_configuration(fields), architecture) for fields, architecture in rows]

    return _cached(TorchName(library, ""), f"catalog-{library}", task, f"listing the networks of {library}", parse)


def sizes(library: str, architectures: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the number of parameters and features of architectures that can be built."""
    digest = hashlib.sha256("\n".join(architectures).encode()).hexdigest()[:32]
    task = {"action": "sizes", "library": library, "architectures": list(architectures)}

    def parse(rows: Any) -> dict[str, tuple[int, int]]:
        return {architecture: (n_parameters, n_features) for architecture, n_parameters, n_features in rows}

    return _cached(TorchName(library, ""), f"sizes-{digest}", task, f"measuring the networks of {library}", parse)


def _cached(name: TorchName, key: str, task: dict[str, Any], purpose: str, parse: Callable[[Any], _Result]) -> _Result:
    """Return the parsed result of a task: from the cache, or of a child process."""
    path = network_cache_folder() / f"{key}-{_version(name.library)}-{_REVISION}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not cached yet, or corrupt
        return parse(json.loads(path.read_text(encoding="utf-8")))
    name.check_installed()
    with temporary_folder() as folder:
        file = folder / "result.json"
        run_child(_WORKER, {**task, "file": str(file)}, purpose, _remedy(name.library))
        text = file.read_text(encoding="utf-8")
    with contextlib.suppress(OSError):  # the next process asks again
        make_folder(path.parent)
        write_text(path, text)
    return parse(json.loads(text))


def _version(library: str) -> str:
    try:
        return f"{library}-{importlib.metadata.version(_DISTRIBUTIONS[library])}"
    except importlib.metadata.PackageNotFoundError:
        return library


def _remedy(library: str) -> str:
    return f"Reinstall torch and {library} together: pip install --force-reinstall 'featx[{LIBRARIES[library][1]}]'."
