"""The compiled graph in a model file: a network that starts without its weights and without tensorflow."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.backbones.registry import Backbone, NetworkBackbone
from featx.extraction.engines.compile import compiled_recipe
from featx.recipe import Recipe
from featx.store.compiled_graphs import GRAPH_FORMAT, Graph
from featx.system.files.atomic import open_regular_file

#: Names of its members in the archive.
XML_MEMBER, BIN_MEMBER = "featx-graph/graph.xml", "featx-graph/graph.bin"


class UnusableGraphError(Exception):
    """The graph in a model file is corrupt, or the file is gone. The network is converted from its weights instead.

    The text names the graph and why it cannot be used.
    """


@dataclasses.dataclass(frozen=True)
class ArchivedGraph:
    """A graph in a model file. It is read when the network starts, and then verified.

    Attributes
    ----------
    path : str
        Path of the model file.
    fingerprint : str
        Fingerprint of the graph, see :class:`featx.Recipe`.
    format : int
        Format of compiled graphs.
    bytes : int
        Size of the graph.
    sha256 : str
        SHA-256 of the graph in hexadecimal.
    network : str
        Description of the network, see :class:`featx.backbones.described.DescribedNetwork`; "" if the network is part
        of featx, or of the model.
    """

    path: str
    fingerprint: str
    format: int
    bytes: int
    sha256: str
    network: str = ""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], path: str, network: str = "") -> ArchivedGraph:
        """Return the graph that a model card describes, in the file at a path, of a network with a description."""
        numbers = int(fields["format"]), int(fields["bytes"])
        return cls(path, str(fields["fingerprint"]), *numbers, str(fields["sha256"]), network)

    def fits(self, backbone: Backbone, recipe: Recipe) -> bool:
        """Return whether the graph is that of a recipe, in the format of this version of featx."""
        if self.format != GRAPH_FORMAT or not isinstance(backbone, NetworkBackbone):
            return False
        return compiled_recipe(backbone, recipe).graph_fingerprint == self.fingerprint

    def load(self) -> Graph:
        """Return the graph.

        Raises
        ------
        UnusableGraphError
            The graph is corrupt, or the file is gone.
        """
        graph, problem = self._try_to_read()
        if graph is None:
            raise UnusableGraphError(f"The graph in model {self.path!r} {problem}")
        return graph

    def find_problem(self) -> str:
        """Return why the graph cannot be used, as the end of a sentence; "" if its bytes are those that were saved."""
        return self._try_to_read()[1]

    def _try_to_read(self) -> tuple[Graph | None, str]:
        """Return the graph and an empty string, or None and the reason why it cannot be used."""
        try:
            return self._read(), ""
        except OSError as error:
            return None, f"cannot be read: {error.strerror or error}"
        except MemoryError:
            return None, "cannot be read: out of memory"
        except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            return None, f"is corrupt: {' '.join(str(error).split())}"

    def _read(self) -> Graph:
        with open_regular_file(Path(self.path)) as file, zipfile.ZipFile(file) as archive:
            members = [archive.getinfo(name) for name in (XML_MEMBER, BIN_MEMBER)]
            if sum(member.file_size for member in members) != self.bytes:
                raise ValueError("its size is not the recorded one")
            graph = Graph(*(archive.read(member) for member in members))
        if sha256_of_graph(graph) != self.sha256:
            raise ValueError("the checksum does not match")
        return graph


def describe_graph(graph: Graph, backbone: NetworkBackbone, recipe: Recipe) -> dict[str, Any]:
    """Return what a model card records of the graph of a recipe."""
    return {
        "fingerprint": compiled_recipe(backbone, recipe).graph_fingerprint,
        "format": GRAPH_FORMAT,
        "bytes": len(graph.xml) + len(graph.bin),
        "sha256": sha256_of_graph(graph),
    }


def sha256_of_graph(graph: Graph) -> str:
    """Return the SHA-256 of both parts of a graph, one after the other."""
    digest = hashlib.sha256(graph.xml)
    digest.update(graph.bin)
    return digest.hexdigest()
