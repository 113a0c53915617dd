"""The arguments of the commands about models, with help and examples."""

from __future__ import annotations

from typing import Any

from featx.cli.shared_options import (
    add_backbone,
    add_cache,
    add_command,
    add_common,
    add_extraction_options,
    add_groups,
    add_no_cache,
    add_reading,
    add_sources,
    add_tables,
    add_task,
)

_TRAIN_EXAMPLES = """examples:
  featx train photos/ -o model.skops
  featx train photos/ -o model.skops --select-from logreg,svm,knn --tune
  featx train labels.csv -o model.skops --estimator svm --calibrate --groups patient
"""
_PREDICT_EXAMPLES = """examples:
  featx predict model.skops new/ -o predictions.csv
  featx predict model.skops photo.jpg --top 3 --json
  find /photos -name '*.jpg' | featx predict model.skops - --threshold 0.9
"""


def add_train(commands: Any) -> None:
    """Add the command that fits a model."""
    summary = "fit a model on labelled images, with its scores, into one file"
    parser = add_command(commands, "train", summary, _TRAIN_EXAMPLES)
    add_sources(parser)
    parser.add_argument(
        "-o", "--output", default="model.skops", metavar="FILE", help="the model (default: model.skops)"
    )
    add_backbone(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--estimator",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid; fine-tune (the network itself, minutes); for "
        "numbers dummy, ridge, svr, knn; or a class of scikit-learn (default: logreg; for numbers ridge)",
    )
    which.add_argument("--select-from", metavar="NAMES", help="that of several which scores best: logreg,svm,knn")
    add_task(parser)
    parser.add_argument("--tune", action="store_true", help="choose parameters by an inner cross-validation")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="make probabilities of scores, by images that the estimator was not fitted on (of centroid, at the price "
        "of accuracy)",
    )
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="decides the folds (default: 0)")
    parser.add_argument("--cv", type=int, metavar="N", help="number of stratified folds (default: 5)")
    add_groups(parser, "on one side of every split")
    add_tables(parser)
    add_extraction_options(parser)
    add_common(parser)


def add_model(commands: Any) -> None:
    """Add the command that tells what a model is."""
    summary = "tell what a model is: its classes, scores, network, versions"
    examples = "examples:\n  featx model model.skops\n  featx model model.skops --json\n"
    parser = add_command(commands, "model", summary, examples)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    add_common(parser)


def add_predict(commands: Any) -> None:
    """Add the command that labels images."""
    summary = "label images with a model that was trained, and tell which are unlike its training images"
    parser = add_command(commands, "predict", summary, _PREDICT_EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    parser.add_argument(
        "source",
        nargs="+",
        metavar="IMAGES",
        help="image files, folders, archives, addresses, or tables; - for paths on standard input, a line each, or as "
        "find -print0 writes them",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write CSV to a file instead of standard output")
    parser.add_argument(
        "--top", type=int, default=1, metavar="K", help="classes for each image, all if K is more (default: 1)"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="no label where the best class has a smaller probability"
    )
    parser.add_argument("--path-column", metavar="COLUMN", help="paths, in a table (default: path, file, image …)")
    add_reading(parser)
    add_cache(parser)
    add_no_cache(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object for each image, a line each, instead of CSV")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def add_explain(commands: Any) -> None:
    """Add the command that draws evidence."""
    summary = "draw where in images a model saw what decided it"
    examples = (
        "examples:\n  featx explain model.skops photo.jpg -o seen/\n"
        "  featx explain model.skops wrong/*.jpg -o seen/ --label beach\n"
    )
    parser = add_command(commands, "explain", summary, examples)
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
    add_reading(parser)
    add_cache(parser)
    add_no_cache(parser)
    add_common(parser)


def add_export(commands: Any) -> None:
    """Add the command that writes a model for other programs."""
    summary = "write a model as one network for programs without featx: Keras, ONNX or OpenVINO"
    examples = (
        "examples:\n  featx export model.skops -o model.keras\n  featx export model.skops -o model.onnx\n"
        "  featx export model.skops -o model/\n"
    )
    parser = add_command(commands, "export", summary, examples)
    parser.add_argument("model", metavar="MODEL", help="a file that featx train wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="ends in .keras or .onnx, or is a folder for OpenVINO"
    )
    add_cache(parser)
    add_no_cache(parser)
    add_common(parser)
