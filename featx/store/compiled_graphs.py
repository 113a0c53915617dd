"""Compiled graphs in a cache: written once, and verified whenever one is loaded.

The file of a graph is its manifest in one line, then the structure, then the weights. It gets its name when it is
complete, so that two writers never mix their parts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from featx.errors import StoreError, StoreWarning
from featx.store.layout import check_no_links, quarantine_folder
from featx.system.files.atomic import atomic_write, make_folder, open_regular_file, remove_abandoned

#: Format of compiled graphs and revision of how they are made. A graph of another format is compiled again.
GRAPH_FORMAT = 5
_MAX_MANIFEST_BYTES = 10_000
_SUFFIX = ".graph"
_GRAPH_FILE = re.compile(r"[0-9a-f]{16}\.graph")
#: Earlier states had three files for each graph.
_REMOVED_FILE = re.compile(r"[0-9a-f]{16}\.(graph|json|xml|bin)")
_MANIFEST = re.compile(rb'\{"format": (\d+), "xml": (\d{1,18}), "bin": (\d{1,18}), ')


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network in OpenVINO's format.

    Attributes
    ----------
    xml : bytes
        Structure.
    bin : bytes
        Weights.
    """

    xml: bytes
    bin: bytes


def load_graph(folder: Path, name: str) -> Graph | None:
    """Return a compiled graph, or None if it is missing, corrupt or of another format.

    Parameters
    ----------
    folder : Path
        Path of ``compiled`` in a cache.
    name : str
        Fingerprint of the graph.

    Raises
    ------
    StoreError
        The folder is a link, or the graph cannot be read.

    Warns
    -----
    StoreWarning
        The graph is corrupt.
    """
    try:
        check_no_links(folder)
        return _read_graph(folder, name)
    except (FileNotFoundError, _OtherFormatError):
        return None
    except ValueError as error:
        reason = error
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"Cannot read the compiled graph {str(folder / name)!r}: {error.strerror or error}. Fix its "
            "permissions, or set another cache folder with cache= (--cache)."
        ) from error
    warnings.warn(
        f"The compiled graph {str(folder / name)!r} is corrupt: {reason}. The backbone is compiled again.",
        StoreWarning,
        stacklevel=4,
    )
    return None


class _OtherFormatError(ValueError):
    """Another version of featx wrote a graph in another format."""


def _read_graph(folder: Path, name: str) -> Graph:
    """Return an intact graph; raise ValueError if it is corrupt, FileNotFoundError if it is missing."""
    try:
        with open_regular_file(folder / (name + _SUFFIX)) as file:
            manifest, newline, _ = (file.read(_MAX_MANIFEST_BYTES) or b"").partition(b"\n")
            match = _MANIFEST.match(manifest)
            if match is None:
                raise ValueError("it does not begin with a manifest")
            if int(match[1]) != GRAPH_FORMAT:
                raise _OtherFormatError(f"expected format {GRAPH_FORMAT}, got {int(match[1])}")
            size, start, n_xml = os.fstat(file.fileno()).st_size, len(manifest + newline), int(match[2])
            # Checked before reading: a corrupt file may be larger than the memory.
            if size != start + n_xml + int(match[3]):
                raise ValueError(f"its size, {size} bytes, does not match the manifest")
            file.seek(start)
            graph = Graph(file.read(n_xml) or b"", file.readall())
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    if manifest + newline != graph_manifest(graph).encode():
        raise ValueError("the checksum does not match")
    return graph


def graph_names(folder: Path) -> list[str]:
    """Return the sorted names of the compiled graphs in a folder, intact or not."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    return sorted({name.split(".")[0] for name in os.listdir(folder) if _GRAPH_FILE.fullmatch(name)})


class GraphProblem(NamedTuple):
    """Why a compiled graph is not used: a file and the reason."""

    path: Path
    reason: str
    is_corrupt: bool = True  # False: another version wrote it, or it is missing


def graph_problem(folder: Path, name: str) -> GraphProblem | None:
    """Return why a graph cannot be used; None if it is intact.

    Raises
    ------
    OSError
        The files cannot be read.
    """
    path = folder / (name + _SUFFIX)
    try:
        _read_graph(folder, name)
    except FileNotFoundError:
        return GraphProblem(path, "the file is missing", is_corrupt=False)
    except ValueError as error:
        return GraphProblem(path, str(error), is_corrupt=not isinstance(error, _OtherFormatError))
    return None


def remove_graphs(folder: Path) -> None:
    """Remove all compiled graphs of a folder, and no other file."""
    if folder.is_dir() and not folder.is_symlink():
        remove_abandoned(folder)
        for path in sorted(folder.iterdir()):
            if _REMOVED_FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)


def save_graph(graph: Graph, folder: Path, name: str) -> None:
    """Write a compiled graph, unless another process has written it.

    Parameters
    ----------
    graph : Graph
    folder : Path
        Path of ``compiled`` in a cache; it is created.
    name : str
        Fingerprint of the graph.

    Raises
    ------
    StoreError
        The graph cannot be written.
    """
    try:
        make_folder(folder)
        remove_abandoned(folder)
        if graph_problem(folder, name) is None:
            return  # another process was faster, and may be reading it
        path = folder / (name + _SUFFIX)
        quarantine_folder(path)
        with atomic_write(path) as temporary, open(temporary, "xb") as file:
            file.write(graph_manifest(graph).encode())
            file.write(graph.xml)
            file.write(graph.bin)
    except OSError as error:
        raise StoreError(
            f"Cannot write the compiled graph to {str(folder)!r}: {error.strerror or error}. Fix the cause, or set "
            "another cache folder with cache= (--cache)."
        ) from error


def graph_manifest(graph: Graph) -> str:
    """Return the description of a graph in one line: its format, sizes and checksum."""
    checksum = hashlib.blake2b(graph.bin, key=hashlib.blake2b(graph.xml).digest()).hexdigest()
    sizes = {"xml": len(graph.xml), "bin": len(graph.bin)}
    return json.dumps({"format": GRAPH_FORMAT, **sizes, "checksum": checksum}) + "\n"
