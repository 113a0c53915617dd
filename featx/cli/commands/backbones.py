"""List backbones and layers: ``featx backbones``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from featx.cli.console import cache_from, print_data
from featx.cli.shared_options import add_cache, add_command
from featx.errors import OptionError
from featx.system.terminal.tables import format_table

if TYPE_CHECKING:
    from featx.backbones.registry import Backbone


def add_commands(commands: Any) -> None:
    """Add ``backbones``."""
    notes = (
        "columns:\n"
        "  min_image_size     smallest image_size; the largest is 4096\n"
        "  megabytes          size of the weights file\n"
        "  top_1              ImageNet validation accuracy, from the Keras documentation\n"
        "  weights            whether the ImageNet weights are on this machine\n"
        "  license            license of the weights, as far as it is known; --json adds their origin\n"
        "  text               of one backbone: whether texts can be compared with images\n"
        "  images_per_second  from files to features, as last measured by featx benchmark --backbone NAME\n\n"
    )
    examples = (
        "examples:\n  featx backbones\n  featx backbones mobilenet --layers\n  featx backbones --search dino\n"
        "  featx backbones timm/resnet50.a1_in1k\n"
    )
    parser = add_command(
        commands, "backbones", "List backbones, or the layers of one backbone", notes + examples, run=show_backbones
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="Show this backbone only")
    parser.add_argument(
        "--search",
        metavar="WORDS",
        help="Search the networks of Keras and of the installed timm, torchvision and open_clip",
    )
    parser.add_argument("--layers", action="store_true", help="List its layers, as --layer accepts them")
    parser.add_argument("--json", action="store_true", help="Print one JSON list instead of a table")
    add_cache(parser)


def show_backbones(args: argparse.Namespace) -> None:
    """Run ``featx backbones``."""
    from featx.backbones.registry import available_backbones, load_backbone
    from featx.extraction.benchmarking.rates import read_rates

    if args.search is not None:
        _show_search(args)
        return
    backbones = [load_backbone(name) for name in (available_backbones() if args.name is None else [args.name])]
    if args.layers:
        if args.name is None:
            raise OptionError("--layers requires the name of a backbone. Pass it: featx backbones mobilenet --layers.")
        layers = backbones[0].layers()
        if not layers:
            raise OptionError(f"{args.name!r} is a plain Python backbone without layers. Remove --layers.")
        rows = [
            {
                "index": index,
                "layer": layer.name,
                "kind": layer.kind,
                "shape": "×".join(map(str, layer.shape)),
                "features": layer.n_features("avg"),
                "block_ends": layer.ends_block,
            }
            for index, layer in enumerate(layers)
        ]
    else:
        rates = read_rates(cache_from(args))
        rows = [_backbone_row(backbone, rates.get(backbone.name)) for backbone in backbones]
        if not args.json:
            rows = [{name: value for name, value in row.items() if name != "origin"} for row in rows]
    print_data(json.dumps(rows) if args.json else format_table(rows, formats={"top_1": ".3f"}))


def _show_search(args: argparse.Namespace) -> None:
    from featx.backbones.torch.search import search_backbones

    if args.name is not None or args.layers:
        raise OptionError("--search cannot be used with the name of a backbone or --layers. Remove one of them.")
    table = search_backbones(args.search)
    rows = json.loads(table.to_json(orient="records"))
    print_data(json.dumps(rows) if args.json else format_table(rows))


def _backbone_row(backbone: Backbone, rate: float | None) -> dict[str, object]:
    from featx.backbones.files.network_file import NetworkFile
    from featx.backbones.hub.hub_file import HubFile
    from featx.backbones.preprocessing import format_preprocessing
    from featx.backbones.records import imagenet_top1
    from featx.backbones.registry import KerasBackbone
    from featx.backbones.torch.torch_backbone import TorchBackbone

    row: dict[str, object] = {"backbone": backbone.name, "features": backbone.n_features("avg")}
    row |= {"image_size": backbone.image_size, "min_image_size": backbone.min_image_size}
    row |= {"parameters": None, "megabytes": None, "top_1": None, "weights": None, "license": None, "origin": None}
    if isinstance(backbone, KerasBackbone):
        row["parameters"] = backbone.n_parameters or None
        row["megabytes"] = round(backbone.n_bytes / 1e6, 1) or None
        row["top_1"] = imagenet_top1(backbone.name)
        row["weights"] = "local" if backbone.has_local_weights else "download"
        row |= {"license": backbone.license or None, "origin": backbone.origin_url or None}
    elif isinstance(backbone, NetworkFile):
        row |= {"min_image_size": None, "megabytes": round(backbone.n_bytes / 1e6, 1), "weights": "local"}
    elif isinstance(backbone, TorchBackbone):
        row |= {"features": backbone.n_features("native"), "min_image_size": None}
        row |= {"parameters": backbone.n_parameters, "megabytes": round(4 * backbone.n_parameters / 1e6, 1)}
        row |= {"weights": "local" if backbone.has_local_weights else "download"}
    if isinstance(backbone, TorchBackbone | HubFile):
        row |= {"license": backbone.license or None, "origin": backbone.origin_url or None}
        row |= {"pooling": backbone.resolve_pooling("native"), "resize": backbone.resize}
        row |= {"preprocessing": format_preprocessing(backbone.preprocessing_text or "")}
        row |= {"text": "yes" if backbone.has_text else "no"}
    return row | {"images_per_second": rate}
