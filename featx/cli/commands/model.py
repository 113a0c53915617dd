"""Train and use models: ``featx train``, ``model``, ``predict``, ``explain`` and ``export``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.console import (
    cache_from,
    labeled_images_from,
    note_ignored,
    options_from,
    print_data,
    print_message,
    reading_from,
    workflow_options_from,
)
from featx.cli.image_paths import batches, raise_for_images, writing
from featx.cli.option_words import in_option_words
from featx.cli.shared_options import (
    add_backbone,
    add_cache,
    add_command,
    add_common,
    add_extraction_options,
    add_groups,
    add_image_sources,
    add_n_jobs,
    add_no_cache,
    add_prompts,
    add_quiet,
    add_reading_options,
    add_sources,
    add_tables,
    add_task,
)
from featx.errors import OptionError
from featx.system.formatting import format_bytes
from featx.system.terminal.tables import format_table

if TYPE_CHECKING:
    from featx.datasets.failures import Failure
    from featx.models.prediction import Prediction
    from featx.models.predictor import Predictor


_TRAIN_EXAMPLES = """examples:
  featx train photos/ -o model.skops
  featx train photos/ -o model.skops --select-from logreg,svm,knn --tune
  featx train labels.csv -o model.skops --estimator svm --calibrate --group-column patient
"""


_PREDICT_EXAMPLES = """examples:
  featx predict model.skops new/ -o predictions.csv
  featx predict model.skops photo.jpg --top 3 --json
  find /photos -name '*.jpg' | featx predict model.skops - --threshold 0.9
"""


def add_commands(commands: Any) -> None:
    """Add ``train``, ``model``, ``predict``, ``explain`` and ``export``."""
    for add in (add_train, add_model, add_predict, add_explain, add_export):
        add(commands)


def add_train(commands: Any) -> None:
    """Add ``train``."""
    summary = "Train a model on labeled images"
    parser = add_command(commands, "train", summary, _TRAIN_EXAMPLES, run=train)
    add_sources(parser, features=True)
    parser.add_argument(
        "-o", "--output", default="model.skops", metavar="FILE", help="Model file (default: model.skops)"
    )
    parser.add_argument(
        "--no-graph",
        action="store_true",
        help="Leave the compiled network out of the model, which is smaller and then needs the weights of the backbone",
    )
    add_backbone(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--estimator",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid, fine-tune (minutes), zero-shot (texts); for "
        "regression dummy, ridge, svr, knn; or a linear scikit-learn class (default: logreg; for regression ridge)",
    )
    which.add_argument(
        "--select-from", metavar="NAMES", help="Select the best of several estimators, such as logreg,svm,knn"
    )
    add_prompts(parser)
    add_task(parser)
    parser.add_argument("--tune", action="store_true", help="Tune hyperparameters by inner cross-validation")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="Calibrate probabilities; may reduce the accuracy of centroid",
    )
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="Seed of the folds (default: 0)")
    parser.add_argument("--cv", type=int, metavar="N", help="Number of stratified folds (default: 5)")
    add_n_jobs(parser)
    add_groups(parser)
    add_tables(parser)
    add_extraction_options(parser)
    add_common(parser)


def add_model(commands: Any) -> None:
    """Add ``model``."""
    summary = "Show the classes, scores, recipe and versions of a model"
    examples = "examples:\n  featx model model.skops\n  featx model model.skops --json\n"
    parser = add_command(commands, "model", summary, examples, run=model)
    parser.add_argument("model", metavar="MODEL", help="Model file written by featx train")
    add_common(parser)


def add_predict(commands: Any) -> None:
    """Add ``predict``."""
    summary = "Predict labels of images with a trained model"
    parser = add_command(commands, "predict", summary, _PREDICT_EXAMPLES, run=predict)
    parser.add_argument("model", metavar="MODEL", help="Model file written by featx train")
    parser.add_argument(
        "source",
        nargs="+",
        metavar="IMAGES",
        help="Image files, folders, archives, URLs or tables; - reads paths from standard input, separated by newlines "
        "or NUL (find -print0)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="Write CSV to this file instead of standard output")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="Number of classes per image (default: 1)")
    parser.add_argument(
        "--threshold",
        action="append",
        metavar="P",
        help="Minimum probability of the predicted class; below it, no label is predicted. Tags: of each (default: "
        "0.5), or TAG=P of one; repeatable",
    )
    add_image_sources(parser)
    add_reading_options(parser, batch_size=True)
    add_cache(parser)
    parser.add_argument(
        "--write-cache",
        action="store_true",
        help="Add the features of new images to the cache (default: only read it)",
    )
    add_no_cache(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object per line instead of CSV")
    add_quiet(parser)


def add_explain(commands: Any) -> None:
    """Add ``explain``."""
    summary = "Draw attribution maps of predictions"
    examples = (
        "examples:\n  featx explain model.skops photo.jpg -o seen/\n"
        "  featx explain model.skops wrong/*.jpg -o seen/ --label beach\n"
    )
    parser = add_command(commands, "explain", summary, examples, run=explain)
    parser.add_argument("model", metavar="MODEL", help="Model file written by featx train")
    parser.add_argument("source", nargs="+", metavar="IMAGES", help="Image files, folders, archives or URLs")
    parser.add_argument(
        "-o", "--output", default="explained", metavar="DIR", help="Output folder of image files (default: explained)"
    )
    parser.add_argument("--label", metavar="NAME", help="Class to explain (default: the predicted class)")
    parser.add_argument(
        "--method",
        default="auto",
        metavar="NAME",
        help="activation (class activation map; linear estimators on average pooling), occlusion (any model) or auto "
        "(default: auto)",
    )
    add_reading_options(parser)
    add_cache(parser)
    add_no_cache(parser)
    add_common(parser, json_help="Print one JSON list instead of a table")


def add_export(commands: Any) -> None:
    """Add ``export``."""
    summary = "Export a model to Keras, ONNX or OpenVINO"
    examples = (
        "examples:\n  featx export model.skops -o model.keras\n  featx export model.skops -o model.onnx\n"
        "  featx export model.skops -o model/\n"
    )
    parser = add_command(commands, "export", summary, examples, run=export)
    parser.add_argument("model", metavar="MODEL", help="Model file written by featx train")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="File ending in .keras or .onnx, or a folder for OpenVINO"
    )
    add_cache(parser)
    add_no_cache(parser)
    add_common(parser)


def train(args: argparse.Namespace) -> None:
    """Run ``featx train``."""
    from featx.models.validation import check_model_path
    from featx.workflows.training.checks import check_savable_names
    from featx.workflows.training.train import train_images

    output = Path(args.output)
    check_model_path(output)
    select_from = _select_from(args)
    check_savable_names(select_from or ([args.estimator] if args.estimator else []))
    backbone = options_from(args, args.backbone)
    table = labeled_images_from(args)
    trained = train_images(
        table,
        backbone=backbone,
        estimator=args.estimator,
        select_from=select_from,
        cv=args.cv,
        tune=args.tune,
        calibrate=args.calibrate,
        random_state=args.random_state,
        n_jobs=args.n_jobs,
        prompts=args.prompts,
        **workflow_options_from(args),
    )
    trained.save(output, graph=not args.no_graph)
    note_ignored(args, table.ignored)
    if args.json:
        from featx.models.model_file import read_model

        print_data(json.dumps({"model": args.output, **dataclasses.asdict(read_model(output).card)}))
    else:
        print_data(f"{in_option_words(trained.as_text())}\nmodel: {args.output}, {format_bytes(output.stat().st_size)}")


def model(args: argparse.Namespace) -> None:
    """Run ``featx model``."""
    from featx.models.model_file import read_model

    described = read_model(args.model)
    card = described.card
    print_data(json.dumps(dataclasses.asdict(card)) if args.json else in_option_words(card.as_text()))
    described.check_graph()


def _thresholds(texts: Sequence[str] | None) -> float | dict[str, float] | None:
    """Return the minimum probability: one for all classes, or one for each tag that is named."""
    if texts is None:
        return None
    pairs = [text.rpartition("=") for text in texts]
    named = {name: _probability(value) for name, _, value in pairs}
    if set(named) == {""}:
        if len(texts) > 1:
            raise OptionError(f"--threshold must be one number, or TAG=P for each tag, got {', '.join(texts)}.")
        return named[""]
    if "" in named:
        raise OptionError("--threshold must be one number, or TAG=P for each tag, got both. Remove one of them.")
    if len(named) < len(pairs):
        name = next(
            name for index, (name, _, _) in enumerate(pairs) if name in [other for other, _, _ in pairs[:index]]
        )
        raise OptionError(f"--threshold is given twice for the tag {name!r}. Remove one of them.")
    return named


def _probability(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--threshold must be a probability between 0 and 1, got {text!r}.") from None


def _select_from(args: argparse.Namespace) -> list[str] | None:
    if args.select_from is None:
        return None
    names = [name.strip() for name in args.select_from.split(",") if name.strip()]
    if not names:
        raise OptionError(
            f"--select-from must be names separated by commas, such as logreg,svm,knn, got {args.select_from!r}."
        )
    return names


def predict(args: argparse.Namespace) -> None:
    """Run ``featx predict``."""
    from featx.models.prediction import PredictionSummary, is_predictions_file
    from featx.models.predictor import Predictor
    from featx.system.files.output_paths import check_output_files
    from featx.system.terminal.progress import stage

    check_output_files([(args.output, is_predictions_file)], args.source)
    missing: list[str] = []
    given = {"top": args.top, "threshold": _thresholds(args.threshold), **reading_from(args)}
    predictor = Predictor(args.model, cache=cache_from(args), write_cache=args.write_cache, **given)
    summary = PredictionSummary()
    batches_of_paths, total = batches(args, missing)
    # The header is written with the first rows: if the network cannot run, there is no output.
    header = "" if args.json else predictor.format.as_csv([], header=True)
    with writing(args.output) as write, stage("predict", total):
        for paths in batches_of_paths:
            predictions = predictor.predict_each(paths)
            write(header + _as_text(predictor, predictions, as_json=args.json))
            summary.add(predictions)
            header = ""
        if header:  # there are no images
            raise_for_images(missing, 0, 0, None)
            write(header)
    print_message(args, " ".join(filter(None, [summary.as_text(), predictor.cache_note()])))
    raise_for_images(missing, summary.n_predicted, summary.n_unreadable, summary.first_unreadable)


def _as_text(predictor: Predictor, predictions: Sequence[Prediction], *, as_json: bool) -> str:
    if as_json:
        return "".join(predictor.format.as_json(prediction) + "\n" for prediction in predictions)
    return predictor.format.as_csv(predictions)


def explain(args: argparse.Namespace) -> None:
    """Run ``featx explain``."""
    from featx.datasets.failures import Failure
    from featx.datasets.find import find_images
    from featx.datasets.image_listing import missing_sources
    from featx.models.explain.explain import explain_each
    from featx.models.explain.explainer import Explainer
    from featx.models.explain.map_files import MapWriter
    from featx.system.terminal.progress import stage

    writer = MapWriter(Path(args.output))
    explainer = Explainer(args.model, method=args.method, cache=cache_from(args), **reading_from(args))
    explainer.check_label(args.label)
    table = find_images(args.source, keep_missing=True)
    note_ignored(args, table.ignored)
    rows: list[dict[str, object]] = []
    failures: list[Failure] = []
    with stage("explain", len(table)) as progress:
        for explained in explain_each(explainer, table.paths, label=args.label, writer=writer):
            progress(1)
            attribution = explained.attribution
            failures += [Failure(len(rows), explained.path, explained.error)] if explained.error else []
            row = {
                "path": explained.path,
                "label": attribution and attribution.label,
                "score": attribution and round(attribution.score, 4),
            }
            row |= {
                "method": explainer.method,
                "file": explained.file,
                "note": explained.note,
                "error": explained.error,
            }
            rows.append(row)
    if args.json:
        print_data(json.dumps(rows))
    else:  # Boolean classes are printed by name
        print_data(
            format_table([{**row, "label": str(row["label"] if row["label"] is not None else "")} for row in rows])
        )
    n_done, first = len(rows) - len(failures), failures[0] if failures else None
    raise_for_images(missing_sources(args.source), n_done, len(failures), first)


def export(args: argparse.Namespace) -> None:
    """Run ``featx export``."""
    from featx.models.export.export import export_model

    exported = export_model(args.model, args.output, cache=cache_from(args))
    print_data(json.dumps(dataclasses.asdict(exported)) if args.json else in_option_words(exported.as_text()))
