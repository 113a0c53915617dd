"""Compiled graphs in a cache folder: written once, and checked whenever one is read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import warnings
from pathlib import Path

from featx.errors import StoreError, StoreWarning
from featx.store import layout as folders
from featx.system.files.atomic import atomic_write, make_folder, open_regular_file, remove_abandoned, write_text

#: Layout of the files of a compiled graph, and revision of how graphs are made; part of their check.
GRAPH_FORMAT = 4
_MANIFEST_BYTES = 10_000
_GRAPH_FILE = re.compile(r"[0-9a-f]{16}\.(json|xml|bin)")


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network in OpenVINO's format: the structure (`xml`) and the weights (`bin`)."""

    xml: bytes
    bin: bytes


def load_graph(folder: Path, name: str) -> Graph | None:
    folders.refuse_links(folder)
    with contextlib.suppress(OSError):  # a cache that can only be read, or is not there yet
        remove_abandoned(folder)
    try:
        return _read(folder, name)
    except FileNotFoundError:
        return None
    except ValueError as error:
        reason = error
    except OSError as error:
        raise StoreError(
            f"The compiled graph {str(folder / name)!r} cannot be read: {error.strerror or error}. "
            "Mend its permissions, or choose another cache folder."
        ) from error
    warnings.warn(
        f"The compiled graph {str(folder / name)!r} is damaged ({reason}); it is compiled anew.",
        StoreWarning,
        stacklevel=4,
    )
    return None


def _read(folder: Path, name: str) -> Graph:
    """Return a graph that is whole; ValueError if it is not, FileNotFoundError if a part of it is absent."""
    try:
        with open_regular_file(folder / f"{name}.json") as file:
            manifest = file.read(_MANIFEST_BYTES) or b""
        parts = []
        for suffix in (".xml", ".bin"):
            with open_regular_file(folder / (name + suffix)) as file:
                size = os.fstat(file.fileno()).st_size
                # Before it is read: it might be larger than memory.
                if f'"{suffix[1:]}": {size},'.encode() not in manifest:
                    raise ValueError(f"its {suffix} has {size} bytes, which its manifest does not say")
                parts.append(file.readall())
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    graph = Graph(*parts)
    if manifest != _manifest(graph).encode():
        raise ValueError("its checksum does not match")
    return graph


def graph_names(folder: Path) -> list[str]:
    """Return the names of the compiled graphs of a folder, whole or not."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted({name.split(".")[0] for name in os.listdir(folder) if _GRAPH_FILE.fullmatch(name)})


def check_graph(folder: Path, name: str) -> tuple[Path, str]:
    """Return the file that is to blame, and what is wrong with the graph, "" if nothing.

    Raises
    ------
    OSError
        The files cannot be read.
    """
    for suffix in (".json", ".xml", ".bin"):
        path = folder / (name + suffix)
        if not os.path.lexists(path):
            return path, "it is absent"
        try:
            open_regular_file(path).close()
        except ValueError as error:
            return path, str(error)
    try:
        _read(folder, name)
    except ValueError as error:
        return folder / f"{name}.bin", str(error)
    return folder / f"{name}.json", ""


def remove_graphs(folder: Path) -> None:
    """Remove every compiled graph of a folder, and nothing else that lies there."""
    if folder.is_dir() and not folder.is_symlink():
        remove_abandoned(folder)
        # The manifest first: without it, the rest is nothing.
        for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".json"):
            if _GRAPH_FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)


def save_graph(graph: Graph, folder: Path, name: str) -> None:
    try:
        make_folder(folder)
        if not check_graph(folder, name)[1]:
            return  # another process was quicker, and may be reading
        for suffix, data in ((".xml", graph.xml), (".bin", graph.bin)):
            folders.clear_the_way(folder / (name + suffix))
            with atomic_write(folder / (name + suffix)) as temporary:
                temporary.write_bytes(data)
        folders.clear_the_way(folder / f"{name}.json")
        write_text(folder / f"{name}.json", _manifest(graph))
    except OSError as error:
        for suffix in (".json", ".xml", ".bin"):
            with contextlib.suppress(OSError):  # on a full disk, what cannot be whole takes no room
                (folder / (name + suffix)).unlink()
        raise StoreError(
            f"The compiled graph cannot be kept in {str(folder)!r}: {error.strerror or error}. "
            "Free or unlock the folder, or choose another cache folder."
        ) from error


def _manifest(graph: Graph) -> str:
    checksum = hashlib.blake2b(graph.bin, key=hashlib.blake2b(graph.xml).digest()).hexdigest()
    sizes = {"xml": len(graph.xml), "bin": len(graph.bin)}
    return json.dumps({"format": GRAPH_FORMAT, **sizes, "checksum": checksum}) + "\n"
