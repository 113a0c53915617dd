"""The commands about models: parse → call → print, as the others."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli.console import cache_from, columns_from, note_ignored, options_from, print_data, reading_from, say
from featx.cli.paths_and_lines import batches, raise_for_images, writing
from featx.errors import OptionError
from featx.system.formatting import as_columns, in_bytes

if TYPE_CHECKING:
    from featx.datasets.failures import Failure
    from featx.models.predict import Prediction, Predictor


def train(args: argparse.Namespace) -> None:
    """Fit a model and write it."""
    from featx.datasets.table_file import find_labelled
    from featx.models.validation import check_model_path
    from featx.workflows.request import GROUPS, ComparisonConfig
    from featx.workflows.train import train_tables

    output = Path(args.output)
    check_model_path(output)
    column = None if args.groups in GROUPS else args.groups
    config = ComparisonConfig(
        estimators=_estimators(args),
        task=args.task,
        cv=args.cv,
        groups=args.groups if column is None else "auto",
        duplicate_threshold=args.duplicate_threshold,
        tune=args.tune,
        random_state=args.random_state,
    )
    options = options_from(args, args.backbone)
    table = find_labelled(args.source, group_column=column, **columns_from(args))
    trained = train_tables(
        table,
        options,
        config,
        calibrate=args.calibrate,
        cache=cache_from(args),
        on_error=args.on_error,
        show_progress=not args.quiet,
        progress=lambda text: say(args, text),
    )
    trained.save(output)
    note_ignored(args, table.ignored)
    if trained.pipeline[0].recipe_["precision"] == "bfloat16":
        say(args, "Features are in bfloat16: CPUs without it refuse the model. --precision float32 makes one for any.")
    if args.json:
        from featx.models.model_file import read_model

        print_data(json.dumps({"model": args.output, **dataclasses.asdict(read_model(output).card)}))
    else:
        print_data(f"{trained.as_text()}\nmodel: {args.output}, {in_bytes(output.stat().st_size)}")


def model(args: argparse.Namespace) -> None:
    """Tell what a model is."""
    from featx.models.model_file import read_model

    card = read_model(args.model).card
    print_data(json.dumps(dataclasses.asdict(card)) if args.json else card.as_text())


def _estimators(args: argparse.Namespace) -> list[str] | None:
    if args.select_from is None:
        return [args.estimator] if args.estimator else None
    names = [name.strip() for name in args.select_from.split(",") if name.strip()]
    if not names:
        raise OptionError(
            f"--select-from {args.select_from!r}: expected names with commas between, such as logreg,svm,knn."
        )
    return names


def predict(args: argparse.Namespace) -> None:
    """Label images."""
    from featx.models.model_file import read_model
    from featx.models.predict import PredictionSummary, Predictor, is_predictions_file
    from featx.system.files.output_paths import check_output_files
    from featx.system.progress import progress_bar

    check_output_files([(args.output, is_predictions_file)], args.source)
    missing: list[str] = []
    given = {"top": args.top, "threshold": args.threshold, **reading_from(args)}
    predictor = Predictor(read_model(args.model), cache=cache_from(args), **given)
    tally = PredictionSummary()
    of_images, total = batches(args, missing)
    with writing(args.output) as write, progress_bar(total, "predict", shown=not args.quiet) as progress:
        if not args.json:
            write(predictor.as_csv([], header=True))
        for batch in of_images:
            predictions = predictor.predict(batch, progress)
            write(_as_text(predictor, predictions, as_json=args.json))
            tally.add(predictions)
    say(args, tally.as_text())
    raise_for_images(missing, tally.n_predicted, tally.n_unreadable, tally.first_unreadable)


def _as_text(predictor: Predictor, predictions: Sequence[Prediction], *, as_json: bool) -> str:
    if as_json:
        return "".join(predictor.as_json(one) + "\n" for one in predictions)
    return predictor.as_csv(predictions)


def explain(args: argparse.Namespace) -> None:
    """Draw where the attribution lies."""
    from featx.datasets.failures import Failure
    from featx.datasets.image_folder import find_images, missing_sources
    from featx.models.explain.explain import check_output_folder, explain_each
    from featx.models.explain.explainer import Explainer
    from featx.models.model_file import read_model
    from featx.system.progress import progress_bar

    check_output_folder(Path(args.output))
    cache = cache_from(args)
    compiled = cache / "compiled" if cache else None
    explainer = Explainer(read_model(args.model), method=args.method, compiled=compiled, **reading_from(args))
    explainer.check_label(args.label)
    table = find_images(args.source, keep_missing=True)
    note_ignored(args, table.ignored)
    rows: list[dict[str, object]] = []
    failures: list[Failure] = []
    with progress_bar(len(table), "explain", shown=not args.quiet) as progress:
        for one in explain_each(explainer, table.paths, label=args.label, folder=Path(args.output)):
            progress(1)
            attribution = one.attribution
            failures += [Failure(len(rows), one.path, one.error)] if one.error else []
            row = {
                "path": one.path,
                "label": attribution and attribution.label,
                "score": attribution and round(attribution.score, 4),
            }
            rows.append({**row, "method": explainer.method, "picture": one.file, "note": one.note, "error": one.error})
    if args.json:
        print_data(json.dumps(rows))
    else:  # of a class that is a truth, its name
        print_data(
            as_columns([{**row, "label": str(row["label"] if row["label"] is not None else "")} for row in rows])
        )
    n_done, first = len(rows) - len(failures), failures[0] if failures else None
    raise_for_images(missing_sources(args.source), n_done, len(failures), first)


def export(args: argparse.Namespace) -> None:
    """Write a model as one network."""
    from featx.models.export.export import export_model

    exported = export_model(args.model, args.output, cache=cache_from(args))
    print_data(json.dumps(dataclasses.asdict(exported)) if args.json else exported.as_text())
