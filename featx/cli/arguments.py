"""The arguments of every command, with help and examples."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli.job_arguments import add_job_commands
from featx.cli.model_arguments import add_explain, add_export, add_model, add_predict, add_train
from featx.cli.search_arguments import add_search_commands
from featx.cli.shared_options import (
    WEIGHTS_HELP,
    add_backbone,
    add_backbones,
    add_cache,
    add_command,
    add_common,
    add_extraction_options,
    add_groups,
    add_sources,
    add_tables,
    add_task,
    weights,
)
from featx.system.version import __version__

_EXTRACT_EXAMPLES = """examples:
  featx extract photos/ -o features.npy
  featx extract photos/cats photos/dogs --backbone resnet50 --pooling max
  featx extract photos/ --json --quiet > summary.json
  featx extract labels.csv --path-column file
  featx extract s3://bucket/photos -o features/
"""
_COMPARE_EXAMPLES = """examples:
  featx compare photos/
  featx compare photos/ --backbone mobilenet --backbone resnet50 --csv scores.csv
  featx compare photos/ --estimator logreg --estimator knn --cv 10 --repeats 3
  featx compare photos/ --report report.html
  featx compare photos/ --layer 0.5 --layer 0.75 --layer 1.0 --pooling avg --pooling avgmax
  featx compare labels.csv --groups patient --tune
  featx compare train/ --test test/
"""
_RANK_EXAMPLES = """examples:
  featx rank photos/ --backbone mobilenet --backbone resnet50
  featx rank photos/ --layer 0.5 --layer 0.75 --layer 1.0 --pooling avg --pooling max
  featx rank labels.csv --groups patient --json
"""
_CACHE_EXAMPLES = """examples:
  featx cache info
  featx cache verify
  featx cache compact
  featx cache clear --backbone resnet50
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; it sets ``command`` to the name of the one that was given."""
    parser = argparse.ArgumentParser(
        prog="featx",
        description="Images → features for scikit-learn: a frozen network, every row kept, nothing computed twice.",
        epilog="Begin with: featx demo. Help for a command: featx COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"featx {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_extract(commands)
    _add_compare(commands)
    _add_rank(commands)
    add_train(commands)
    add_model(commands)
    add_predict(commands)
    add_explain(commands)
    add_export(commands)
    add_search_commands(commands)
    _add_check(commands)
    _add_bench(commands)
    _add_demo(commands)
    _add_backbones(commands)
    add_job_commands(commands)
    _add_cache_commands(commands)
    return parser


def _add_extract(commands: Any) -> None:
    parser = add_command(commands, "extract", "turn images into a .npy matrix of features", _EXTRACT_EXAMPLES)
    add_sources(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="features.npy",
        metavar="FILE",
        help="the matrix; or a folder/ or an address, for a job of shards that can be resumed (default: features.npy)",
    )
    add_backbone(parser)
    add_tables(parser)
    add_extraction_options(parser)
    add_common(parser)


def _add_compare(commands: Any) -> None:
    parser = add_command(commands, "compare", "compare scikit-learn baselines on features", _COMPARE_EXAMPLES)
    add_sources(parser)
    add_backbones(parser)
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid; for numbers dummy, ridge, svr, knn; or a "
        "class of scikit-learn (default: dummy, logreg, svm, knn); fine-tune: the network itself, minutes a fold; may "
        "be repeated",
    )
    add_task(parser)
    parser.add_argument("--tune", action="store_true", help="choose parameters by an inner cross-validation")
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="decides the folds (default: 0)")
    parser.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="folds computed at once (default: -1, all cores)"
    )
    _add_split(parser)
    add_tables(parser)
    results = parser.add_argument_group("results")
    results.add_argument("--report", metavar="FILE", help="write a page with plots and thumbnails, one HTML file")
    results.add_argument("--tsne", action="store_true", help="a t-SNE map in the report, however many images there are")
    results.add_argument("--learning-curve", action="store_true", help="also score fewer training images")
    results.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    results.add_argument("--label-issues", metavar="FILE", help="also write the labels that may be wrong as CSV")
    add_extraction_options(parser, several=True)
    add_common(parser)


def _add_split(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("split")
    group.add_argument("--cv", type=int, metavar="N", help="number of stratified folds (default: 5)")
    group.add_argument("--repeats", type=int, default=1, metavar="N", help="repetitions of the folds (default: 1)")
    group.add_argument("--test", action="append", metavar="SOURCE", help="images to score on instead; may be repeated")
    add_groups(group, "on one side of every split")


def _add_rank(commands: Any) -> None:
    summary = "order networks, layers and poolings for labelled images, without training on any"
    parser = add_command(commands, "rank", summary, _RANK_EXAMPLES)
    add_sources(parser)
    add_backbones(parser)
    add_task(parser)
    add_groups(parser, "left out together")
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    add_tables(parser)
    add_extraction_options(parser, several=True)
    add_common(parser)


def _add_check(commands: Any) -> None:
    summary = "read every image and tell what is wrong or odd; exit code 1 if one cannot be read"
    examples = (
        "examples:\n  featx check photos/\n  featx check photos/ --csv findings.csv\n  featx check a.zip --json\n"
    )
    parser = add_command(commands, "check", summary, examples)
    add_sources(parser)
    parser.add_argument("--csv", metavar="FILE", help="also write all findings as CSV: path, finding, detail")
    most = "larger images cannot be read (default: %(default)s)"
    parser.add_argument("--max-pixels", type=int, default=178_956_970, metavar="N", help=most)
    add_tables(parser)
    add_common(parser)


def _add_bench(commands: Any) -> None:
    summary = "measure how fast this machine extracts, part by part and against tf.data + model.predict"
    examples = "examples:\n  featx bench\n  featx bench photos/ --backbone mobilenet --backbone resnet50 --json\n"
    parser = add_command(commands, "bench", summary, examples)
    parser.add_argument(
        "source", nargs="*", metavar="SOURCE", help="folders or files of photos (default: generated, 500 × 375)"
    )
    add_backbones(parser)
    parser.add_argument("--weights", type=weights, default=argparse.SUPPRESS, metavar="FILE", help=WEIGHTS_HELP)
    add_cache(parser)
    add_common(parser)


def _add_demo(commands: Any) -> None:
    summary = "show the whole job on scikit-learn's digits, with the bundled MobileNet"
    parser = add_command(commands, "demo", summary, "example:\n  featx demo\n")
    parser.add_argument(
        "--folder", default="featx-demo", metavar="DIR", help="where images and features go (default: featx-demo)"
    )
    add_cache(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _add_backbones(commands: Any) -> None:
    notes = (
        "minimum size: the smallest image_size; the largest is 4096. megabytes: of the file of weights. top 1: "
        "percent of ImageNet's validation images whose first guess is\nright, by Keras's documentation. weights: "
        "whether those of ImageNet are on this machine. images per\nsecond: from files to features, as `featx bench "
        "--backbone NAME` last measured it here.\n\n"
    )
    examples = "examples:\n  featx backbones\n  featx backbones mobilenet --layers\n"
    parser = add_command(commands, "backbones", "list the networks, or the layers of one", notes + examples)
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this one")
    parser.add_argument("--layers", action="store_true", help="its layers instead, as --layer takes them")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    add_cache(parser)


def _add_cache_commands(commands: Any) -> None:
    summary = "tell, check, merge or remove what is kept"
    parser = commands.add_parser(
        "cache",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_CACHE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        added = add_command(actions, name, summary, f"example:\n  featx cache {example}\n")
        added.set_defaults(command=f"cache {name}")
        added.add_argument(
            "--cache", default="auto", metavar="DIR", help="the cache folder (default: $FEATX_CACHE, else cache/)"
        )
        added.add_argument(
            "--backbone",
            metavar="NAME",
            help="only the rows of this network (its name, or its file), or of this fingerprint",
        )
        add_common(added)
        return added

    add("info", "tell which recipes have how many rows, and what they take", "info --json")
    verify = "read everything and name each damaged file; exit code 1 if there is one"
    add("verify", verify, "verify --cache cache/")
    add("compact", "merge small segments into large ones; others may read and write meanwhile", "compact")
    clear = add("clear", "remove rows, compiled networks and the index", "clear --backbone resnet50 --yes")
    clear.add_argument("--damaged", action="store_true", help="only damaged files that were set aside")
    clear.add_argument("--yes", action="store_true", help="do not ask")
