"""Describe a custom model file: in a child process, with the result cached in the user's cache folder."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
from pathlib import Path

from featx.backbones.files.description import NetworkDescription
from featx.backbones.files.display_name import display_name, network_cache_folder
from featx.backbones.files.model_source import ModelSource
from featx.errors import missing_dependency
from featx.system.child_process import run_child
from featx.system.files.atomic import make_folder, write_text
from featx.system.files.temporary import temporary_folder

#: Descriptions from model files, for this process only.
_KNOWN: dict[tuple[ModelSource, tuple[int, int] | None], NetworkDescription] = {}


@functools.lru_cache(maxsize=32)
def describe_source(source: ModelSource, size: tuple[int, int] | None) -> NetworkDescription:
    """Return what a custom model file contains.

    Parameters
    ----------
    source : ModelSource
        File to describe.
    size : tuple of (int, int) or None
        Height and width at which layers are listed. None: the fixed size of the network, or the first common size
        that it accepts.

    Raises
    ------
    WeightsError
        If the file is not a network that featx can use.
    OptionError
        If the network does not accept images of this size.
    MissingDependencyError
        If the package that reads the file is not installed.
    """
    if (source, size) in _KNOWN:
        return _KNOWN[source, size]
    cached = _cache_path(source, size)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not described yet, or corrupt
        return NetworkDescription.from_dict(json.loads(cached.read_text(encoding="utf-8")))
    with temporary_folder() as folder:
        file = folder / "description.json"
        run_child(
            "featx.backbones.workers.describe_file",
            {**source.as_task(), "image_size": size and list(size), "file": str(file)},
            f"reading the network {display_name(source.path)}",
            "Check that the file holds a whole network, and that the installed tensorflow or openvino supports it.",
        )
        text = file.read_text(encoding="utf-8")
    _write(cached, text)
    return NetworkDescription.from_dict(json.loads(text))


def cache_description(source: ModelSource, description: NetworkDescription) -> None:
    """Cache a description that is already known."""
    _write(_cache_path(source, None), json.dumps(description.as_dict()))


def remember_description(source: ModelSource, size: tuple[int, int] | None, description: NetworkDescription) -> None:
    """Use a description that is already known, in this process."""
    _KNOWN[source, size] = description


def _cache_path(source: ModelSource, size: tuple[int, int] | None) -> Path:
    size_text = "x".join(map(str, size)) if size else "default"
    return network_cache_folder() / f"{source.digest[:32]}-{size_text}-{_reader_version(source)}.json"


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # the next process describes the file again
        make_folder(path.parent)
        write_text(path, text)


def _reader_version(source: ModelSource) -> str:
    """Return name and version of the package that reads a file: other versions may list other layers."""
    reader = "keras" if source.kind == "keras" else "openvino"
    try:
        return f"{reader}-{importlib.metadata.version(reader)}"
    except importlib.metadata.PackageNotFoundError as error:
        package = "tensorflow" if reader == "keras" else reader
        raise missing_dependency(f"Network {display_name(source.path)}", reader, install=package) from error
