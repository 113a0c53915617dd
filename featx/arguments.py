"""The arguments of every command, with help and examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from featx import __version__

_EXTRACT_EXAMPLES = """examples:
  featx extract photos/ -o features.npy
  featx extract photos/cats photos/dogs --backbone resnet50 --pooling max
  featx extract photos/ --json --quiet > summary.json
  featx extract labels.csv --path-column file
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
_TRAIN_EXAMPLES = """examples:
  featx train photos/ -o model.skops
  featx train photos/ -o model.skops --best-of logreg,svm,knn --tune
  featx train labels.csv -o model.skops --estimator svm --calibrate --groups patient
"""
_PREDICT_EXAMPLES = """examples:
  featx predict model.skops new/ -o predictions.csv
  featx predict model.skops photo.jpg --top 3 --json
  find /photos -name '*.jpg' | featx predict model.skops - --threshold 0.9
"""
_CACHE_EXAMPLES = """examples:
  featx cache info
  featx cache verify
  featx cache compact
  featx cache clear --backbone resnet50
"""


def make_parser(*more: Callable[[Any], None]) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; it sets ``command`` to the name of the one that was given.

    Parameters
    ----------
    *more : callable
        Add commands whose arguments have a module of their own.
    """
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
    _add_train(commands)
    _add_predict(commands)
    _add_explain(commands)
    _add_export(commands)
    for add in more:
        add(commands)
    _add_check(commands)
    _add_bench(commands)
    _add_demo(commands)
    _add_backbones(commands)
    _add_cache_commands(commands)
    return parser


def _command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name)
    return parser


def _add_extract(commands: Any) -> None:
    parser = _command(commands, "extract", "turn images into a .npy matrix of features", _EXTRACT_EXAMPLES)
    _add_sources(parser)
    parser.add_argument(
        "-o", "--output", default="features.npy", metavar="FILE", help="the matrix (default: features.npy)"
    )
    parser.add_argument(
        "--backbone", default="mobilenet", metavar="NAME", help="network, or a file that holds one (default: mobilenet)"
    )
    _add_tables(parser)
    _add_extraction_options(parser)
    _add_common(parser)


def _add_compare(commands: Any) -> None:
    parser = _command(commands, "compare", "compare scikit-learn baselines on features", _COMPARE_EXAMPLES)
    _add_sources(parser)
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="network (default: mobilenet); may be repeated"
    )
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid; for numbers dummy, ridge, svr, knn; or a "
        "class of scikit-learn (default: dummy, logreg, svm, knn); fine-tune: the network itself, minutes a fold; may "
        "be repeated",
    )
    _add_task(parser)
    parser.add_argument("--tune", action="store_true", help="choose parameters by an inner cross-validation")
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="decides the folds (default: 0)")
    parser.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="folds computed at once (default: -1, all cores)"
    )
    _add_split(parser)
    _add_tables(parser)
    results = parser.add_argument_group("results")
    results.add_argument("--report", metavar="FILE", help="write a page with plots and thumbnails, one HTML file")
    results.add_argument("--tsne", action="store_true", help="a t-SNE map in the report, however many images there are")
    results.add_argument("--learning-curve", action="store_true", help="also score fewer training images")
    results.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    results.add_argument("--label-issues", metavar="FILE", help="also write the labels that may be wrong as CSV")
    _add_extraction_options(parser, several=True)
    _add_common(parser)


def _add_rank(commands: Any) -> None:
    summary = "order networks, layers and poolings for labelled images, without training on any"
    parser = _command(commands, "rank", summary, _RANK_EXAMPLES)
    _add_sources(parser)
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="network (default: mobilenet); may be repeated"
    )
    _add_task(parser)
    _add_groups(parser, "left out together")
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    _add_tables(parser)
    _add_extraction_options(parser, several=True)
    _add_common(parser)


def _add_train(commands: Any) -> None:
    summary = "fit a model on labelled images, with its scores, into one file"
    parser = _command(commands, "train", summary, _TRAIN_EXAMPLES)
    _add_sources(parser)
    parser.add_argument(
        "-o", "--output", default="model.skops", metavar="FILE", help="the model (default: model.skops)"
    )
    parser.add_argument(
        "--backbone", default="mobilenet", metavar="NAME", help="network, or a file that holds one (default: mobilenet)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--estimator",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid; fine-tune (the network itself, minutes); for "
        "numbers dummy, ridge, svr, knn; or a class of scikit-learn (default: logreg; for numbers ridge)",
    )
    which.add_argument("--best-of", metavar="NAMES", help="that of several which scores best: logreg,svm,knn")
    _add_task(parser)
    parser.add_argument("--tune", action="store_true", help="choose parameters by an inner cross-validation")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="make probabilities of scores, by images that the estimator was not fitted on",
    )
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="decides the folds (default: 0)")
    parser.add_argument("--cv", type=int, metavar="N", help="number of stratified folds (default: 5)")
    _add_groups(parser, "on one side of every split")
    _add_tables(parser)
    _add_extraction_options(parser)
    _add_common(parser)


def _add_predict(commands: Any) -> None:
    summary = "label images with a model that was trained, and tell which are unlike its training images"
    parser = _command(commands, "predict", summary, _PREDICT_EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    parser.add_argument(
        "source",
        nargs="+",
        metavar="IMAGES",
        help="image files, folders, archives, addresses, or tables; - for paths on standard input, a line each",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write CSV to a file instead of standard output")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="classes for each image (default: 1)")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="no label where the best class has a smaller probability"
    )
    parser.add_argument("--path-column", metavar="COLUMN", help="paths, in a table (default: path, file, image …)")
    _add_cache(parser)
    parser.add_argument(
        "--no-cache", dest="cache", action="store_const", const=None, help="keep nothing: networks are compiled anew"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object for each image, a line each, instead of CSV")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _add_explain(commands: Any) -> None:
    summary = "draw where in images a model saw what decided it"
    examples = (
        "examples:\n  featx explain model.skops photo.jpg -o seen/\n"
        "  featx explain model.skops wrong/*.jpg -o seen/ --label beach\n"
    )
    parser = _command(commands, "explain", summary, examples)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    parser.add_argument("source", nargs="+", metavar="IMAGES", help="image files, folders, archives or addresses")
    parser.add_argument(
        "-o", "--output", default="explained", metavar="DIR", help="folder of pictures (default: explained)"
    )
    parser.add_argument(
        "--label", metavar="NAME", help="the class whose evidence to show (default: what is decided for)"
    )
    parser.add_argument(
        "--method",
        default="auto",
        metavar="NAME",
        help="activation: the exact class activation map, of linear estimators on averages; occlusion: cover one "
        "square after another, for any; auto (default)",
    )
    _add_cache(parser)
    _add_common(parser)


def _add_export(commands: Any) -> None:
    summary = "write a model as one network for programs without featx: Keras, ONNX or OpenVINO"
    examples = (
        "examples:\n  featx export model.skops -o model.keras\n  featx export model.skops -o model.onnx\n"
        "  featx export model.skops -o model/\n"
    )
    parser = _command(commands, "export", summary, examples)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="ends in .keras or .onnx, or is a folder for OpenVINO"
    )
    _add_cache(parser)
    _add_common(parser)


def _add_check(commands: Any) -> None:
    summary = "read every image and tell what is wrong or odd; exit code 1 if one cannot be read"
    examples = (
        "examples:\n  featx check photos/\n  featx check photos/ --csv findings.csv\n  featx check a.zip --json\n"
    )
    parser = _command(commands, "check", summary, examples)
    _add_sources(parser)
    parser.add_argument("--csv", metavar="FILE", help="also write all findings as CSV: path, finding, detail")
    most = "larger images cannot be read (default: %(default)s)"
    parser.add_argument("--max-pixels", type=int, default=178_956_970, metavar="N", help=most)
    _add_tables(parser)
    _add_common(parser)


def _add_split(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("split")
    group.add_argument("--cv", type=int, metavar="N", help="number of stratified folds (default: 5)")
    group.add_argument("--repeats", type=int, default=1, metavar="N", help="repetitions of the folds (default: 1)")
    group.add_argument("--test", action="append", metavar="SOURCE", help="images to score on instead; may be repeated")
    _add_groups(group, "on one side of every split")


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task", default="auto", metavar="NAME", help="classification or regression (default: what the labels are)"
    )


def _add_groups(group: Any, treated: str) -> None:
    group.add_argument(
        "--groups",
        default="auto",
        metavar="COLUMN",
        help=f"images of one group are {treated}: auto (duplicates and near-duplicates), none, or a column of the "
        "table (default: auto)",
    )
    group.add_argument(
        "--near",
        type=float,
        default=0.97,
        metavar="COSINE",
        help="features as alike as this are near-duplicates; 1: equal ones only (default: 0.97)",
    )


def _add_tables(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tables (a CSV, TSV or Parquet file as SOURCE)")
    group.add_argument("--path-column", metavar="COLUMN", help="paths (default: path, file, filename, image …)")
    group.add_argument("--label-column", metavar="COLUMN", help="labels (default: label, class, category, target …)")
    group.add_argument("--split-column", metavar="COLUMN", help="train, val or test")


def _add_bench(commands: Any) -> None:
    summary = "measure how fast this machine extracts, part by part and against tf.data + model.predict"
    examples = "examples:\n  featx bench\n  featx bench photos/ --backbone mobilenet --backbone resnet50 --json\n"
    parser = _command(commands, "bench", summary, examples)
    parser.add_argument(
        "source", nargs="*", metavar="SOURCE", help="folders or files of photos (default: generated, 500 × 375)"
    )
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="network (default: mobilenet); may be repeated"
    )
    parser.add_argument("--weights", type=_weights, default=argparse.SUPPRESS, metavar="FILE", help=_WEIGHTS_HELP)
    _add_cache(parser)
    _add_common(parser)


def _add_demo(commands: Any) -> None:
    summary = "show the whole job on scikit-learn's digits, with the bundled MobileNet"
    parser = _command(commands, "demo", summary, "example:\n  featx demo\n")
    parser.add_argument(
        "--folder", default="featx-demo", metavar="DIR", help="where images and features go (default: featx-demo)"
    )
    _add_cache(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _add_backbones(commands: Any) -> None:
    notes = (
        "minimum size: the smallest image_size; the largest is 4096. megabytes: of the file of weights. top 1: "
        "percent of ImageNet's validation images whose first guess is\nright, by Keras's documentation. weights: "
        "whether those of ImageNet are on this machine. images per\nsecond: from files to features, as `featx bench "
        "--backbone NAME` last measured it here.\n\n"
    )
    examples = "examples:\n  featx backbones\n  featx backbones mobilenet --layers\n"
    parser = _command(commands, "backbones", "list the networks, or the layers of one", notes + examples)
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this one")
    parser.add_argument("--layers", action="store_true", help="its layers instead, as --layer takes them")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    _add_cache(parser)


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
        added = _command(actions, name, summary, f"example:\n  featx cache {example}\n")
        added.set_defaults(command=f"cache {name}")
        added.add_argument(
            "--cache", default="auto", metavar="DIR", help="the cache folder (default: $FEATX_CACHE, else cache/)"
        )
        added.add_argument(
            "--backbone",
            metavar="NAME",
            help="only the rows of this network (its name, or its file), or of this fingerprint",
        )
        _add_common(added)
        return added

    add("info", "tell which recipes have how many rows, and what they take", "info --json")
    verify = "read everything and name each damaged file; exit code 1 if there is one"
    add("verify", verify, "verify --cache cache/")
    add("compact", "merge small segments into large ones; others may read and write meanwhile", "compact")
    clear = add("clear", "remove rows, compiled networks and the index", "clear --backbone resnet50 --yes")
    clear.add_argument("--damaged", action="store_true", help="only damaged files that were set aside")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a folder of class folders, or with train and test folders of these; a flat folder; a zip or tar archive "
        "of such; image files; or a CSV, TSV or Parquet file that lists images",
    )


#: Options that are handed to ExtractionOptions if they are given.
EXTRACTION_OPTIONS = (
    *("weights", "image_size", "layer", "pooling", "resize", "precision", "engine", "batch_size"),
    *("max_pixels", "on_truncated", "preprocessing", "views"),
)


_WEIGHTS_HELP = (
    "weights of this network without its head: imagenet, a file, an address that ends in #sha256=DIGEST, or none for "
    "random ones, as a control (default: imagenet)"
)


def _weights(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _views(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _image_size(text: str) -> int | tuple[int, ...] | str:
    try:
        sides = [int(side) for side in text.lower().replace("×", "x").split("x")]
    except ValueError:
        return text  # which ExtractionOptions refuses, with a remedy
    return sides[0] if len(sides) == 1 else tuple(sides)


def _add_extraction_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    # SUPPRESS: an option that is not given is not there, and ExtractionOptions has the only default.
    group = parser.add_argument_group("extraction", argument_default=argparse.SUPPRESS)
    group.add_argument("--weights", type=_weights, metavar="FILE", help=_WEIGHTS_HELP)
    group.add_argument(
        "--image-size",
        type=_image_size,
        metavar="N",
        help="side in pixels, or height and width as in 224x320 (default: the network's own)",
    )
    more, again = ("append", "; may be repeated") if several else ("store", "")
    group.add_argument(
        "--layer",
        action=more,
        metavar="NAME",
        help="layer that is pooled: a name, a share of the depth such as 0.75 (1.0 is all of it), a place such as -2 "
        f"(1 is the first after the input), or several joined as A+B (default: the last){again}",
    )
    pooling = f"avg, max, avgmax (both), or none (every position) (default: avg){again}"
    group.add_argument("--pooling", action=more, metavar="NAME", help=pooling)
    group.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="of a network in a file of yours: tf, torch, caffe, none, or MEAN/SCALE, a number or three each: "
        "(pixel - MEAN) / SCALE of pixels from 0 to 255",
    )
    views = f"views of an image that are averaged: flip, five-crop, rotations, or none (default: none){again}"
    group.add_argument("--views", action=more, type=_views, metavar="NAME", help=views)
    group.add_argument("--resize", metavar="NAME", help="squash, crop or pad (default: squash)")
    group.add_argument("--precision", metavar="NAME", help="auto, float32 or bfloat16 (default: auto)")
    group.add_argument("--engine", metavar="NAME", help="auto, openvino or keras (default: auto)")
    group.add_argument("--batch-size", type=int, metavar="N", help="images at a time; changes no value (default: 32)")
    group.add_argument("--max-pixels", type=int, metavar="N", help="refuse larger images (default: 178956970)")
    group.add_argument(
        "--on-truncated",
        metavar="NAME",
        help="a JPEG or PNG that ends too early: raise (cannot be read), or pad (missing parts grey) (default: raise)",
    )
    group.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="an unreadable image: leave it out and list it, or stop (default: skip)",
    )
    _add_cache(group)
    group.add_argument(
        "--no-cache", dest="cache", action="store_const", const=None, help="keep nothing: networks are compiled anew"
    )


def _add_cache(parser: Any) -> None:
    parser.add_argument(
        "--cache", default="auto", metavar="DIR", help="keeps every row (default: $FEATX_CACHE, else cache/)"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
