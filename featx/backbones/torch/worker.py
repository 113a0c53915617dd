"""Child process that describes networks and builds their graphs; it reads its task from standard input."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from featx.backbones.torch.description import TorchDescription
from featx.backbones.torch.names import TorchName
from featx.recipe import Recipe
from featx.system.child_process import serve_task

#: Seed of random weights.
SEED = 0


def build_graph(task: dict[str, Any], recipe: Recipe, weights_path: Path | None) -> Any:
    """Return the ``openvino.Model`` of a network: one output for each layer of a recipe, under its name.

    Parameters
    ----------
    task : dict
        Name of the network, and the path of its configuration or None.
    recipe : Recipe
        Image size, layers and preprocessing.
    weights_path : Path or None
        Path of the weights; None for random weights.
    """
    from featx.backbones.torch.network import convert

    network = _build(task, recipe.image_size, weights_path)
    return convert(network, recipe.image_size, recipe.layers, recipe.preprocessing)


def answer(task: dict[str, Any]) -> None:
    """Write the result of a task to its file, as JSON."""
    result = {"describe": _describe, "catalog": _catalog, "sizes": _sizes}[task["action"]](task)
    Path(task["file"]).write_text(json.dumps(result), encoding="utf-8")


def _describe(task: dict[str, Any]) -> Any:
    name, config = _parts(task)
    configuration = _library(name.library).configuration(name, config)
    size = tuple(task["image_size"] or configuration.image_size)
    network = _build(task, size, None)
    n_parameters = sum(parameter.numel() for parameter in network.module.parameters())
    layers, native_pooling = network.describe(size)
    return TorchDescription(
        configuration=configuration,
        layers=tuple(layers),
        native_pooling=native_pooling,
        n_parameters=n_parameters,
    ).as_dict()


def _catalog(task: dict[str, Any]) -> Any:
    return [
        (dataclasses.asdict(configuration), architecture)
        for configuration, architecture in _library(task["library"]).catalog()
    ]


def _sizes(task: dict[str, Any]) -> Any:
    import torch

    library = _library(task["library"])
    rows = []
    for architecture in task["architectures"]:
        # An architecture may need a package that is not installed: its size stays unknown.
        with contextlib.suppress(Exception), torch.device("meta"):  # without memory or computations
            rows.append((architecture, *library.sizes(architecture)))
    return rows


def _build(task: dict[str, Any], image_size: tuple[int, int], weights_path: Path | None) -> Any:
    import torch

    name, config = _parts(task)
    torch.manual_seed(SEED)
    return _library(name.library).build(name, image_size, weights_path, config)


def _parts(task: dict[str, Any]) -> tuple[TorchName, Path | None]:
    return TorchName(**task["name"]), Path(task["config"]) if task["config"] else None


def _library(library: str) -> Any:
    """Return the module that builds the networks of a library."""
    logging.disable(logging.WARNING)  # the libraries report what this module checks itself
    warnings.simplefilter("ignore")
    return importlib.import_module(f"featx.backbones.torch.{library}_library")


if __name__ == "__main__":
    sys.exit(serve_task(answer))
