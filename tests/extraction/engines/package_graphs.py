"""Write the graphs that are distributed with featx: ``python -m tests.extraction.engines.package_graphs``.

Run it after a change of the bundled weights, of the conversion, of the calibration images or of the quantization. It
needs tensorflow and nncf, and replaces all files in ``data/graphs`` but the README.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from featx.backbones.registry import NetworkBackbone
from featx.extraction.engines.compile import compiled_recipe, convert_network, quantize_graph
from featx.extraction.engines.packaged import GRAPHS_FOLDER, packaged_name
from featx.extraction.options import ExtractionOptions
from featx.recipe import Recipe
from featx.store.compiled_graphs import Graph, graph_manifest

BUNDLED = "mobilenet"


def make_graphs() -> Iterator[tuple[NetworkBackbone, Recipe, Graph]]:
    """Yield the graph of the bundled network in float32, and the quantized one."""
    resolved = ExtractionOptions(BUNDLED, precision="float32", engine="openvino").resolve()
    backbone = resolved.backbone
    assert isinstance(backbone, NetworkBackbone)
    recipe = compiled_recipe(backbone, resolved.recipe)
    graph = convert_network(backbone, recipe, resolved.weights_path)
    yield backbone, recipe, graph
    quantized = ExtractionOptions(BUNDLED, precision="int8", engine="openvino").resolve()
    recipe = compiled_recipe(backbone, quantized.recipe)
    yield backbone, recipe, quantize_graph(backbone, recipe, graph)


def write_graphs(folder: Path) -> None:
    """Replace all graphs in a folder."""
    for suffix in ("json", "xml", "bin"):
        for path in folder.glob(f"*.{suffix}"):
            path.unlink()
    for backbone, recipe, graph in make_graphs():
        name = packaged_name(backbone, recipe)
        (folder / f"{name}.xml").write_bytes(graph.xml)
        (folder / f"{name}.bin").write_bytes(graph.bin)
        (folder / f"{name}.json").write_text(graph_manifest(graph), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_graphs(GRAPHS_FOLDER)
