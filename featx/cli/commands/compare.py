"""Compare baselines and rank backbones: ``featx compare`` and ``featx rank``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.console import (
    cache_from,
    command_of,
    labeled_images_from,
    note_ignored,
    options_from,
    print_message,
    print_result,
    source_options_from,
    workflow_options_from,
)
from featx.cli.shared_options import (
    EXTRACTION_OPTIONS,
    add_backbones,
    add_command,
    add_common,
    add_extraction_options,
    add_groups,
    add_n_jobs,
    add_prompts,
    add_sources,
    add_tables,
    add_task,
)

if TYPE_CHECKING:
    from featx.extraction.options import ExtractionOptions
    from featx.workflows.result import ImageComparison

#: Options about images, which do not apply to features that are extracted already.
_IMAGE_OPTIONS = (
    *("group_column", "label_column", "split_column", "path_column", "path_template", "root"),
    *("encoding", "class_level", "zip_encoding"),
)
#: Options of extraction whose columns are kept with the features.
_KEPT = ("group_column", "split_column", "label_column")
#: Defaults of such options that are not None.
_DEFAULTS = {"on_error": "skip"}

_COMPARE_EXAMPLES = """examples:
  featx compare photos/
  featx compare photos/ --backbone mobilenet --backbone resnet50 --csv scores.csv
  featx compare photos/ --estimator logreg --estimator knn --cv 10 --repeats 3
  featx compare photos/ --report report.html
  featx compare photos/ --layer 0.5 --layer 0.75 --layer 1.0 --pooling avg --pooling avgmax
  featx compare labels.csv --group-column patient --tune
  featx compare train/ --test test/
  featx compare labels.csv --label-column tags --label-separator ';'
  featx compare job/ --time-limit 30
  featx compare train.parquet --test test.parquet
  featx compare photos/ --backbone open_clip/ViT-B-32:laion2b_s34b_b79k --estimator zero-shot --estimator logreg
"""


_RANK_EXAMPLES = """examples:
  featx rank photos/ --backbone mobilenet --backbone resnet50
  featx rank photos/ --layer 0.5 --layer 0.75 --layer 1.0 --pooling avg --pooling max
  featx rank labels.csv --group-column patient --json
"""


def add_commands(commands: Any) -> None:
    """Add ``compare`` and ``rank``."""
    _add_compare(commands)
    _add_rank(commands)


def _add_compare(commands: Any) -> None:
    parser = add_command(
        commands, "compare", "Compare scikit-learn baselines on features", _COMPARE_EXAMPLES, run=_compare
    )
    add_sources(parser, features=True)
    add_backbones(parser)
    parser.add_argument(
        "--estimator",
        action="append",
        metavar="NAME",
        help="dummy, logreg, svm, linear-svm, knn, ridge, lda, centroid, fine-tune (minutes per fold), zero-shot "
        "(compares with texts; needs a backbone with a text tower); for regression dummy, ridge, svr, knn; a "
        "scikit-learn class; or a class of another library, such as xgboost.XGBClassifier; repeatable (default: dummy, "
        "logreg, svm, knn)",
    )
    add_prompts(parser)
    add_task(parser)
    parser.add_argument("--tune", action="store_true", help="Tune hyperparameters by inner cross-validation")
    parser.add_argument("--random-state", type=int, default=0, metavar="N", help="Seed of the folds (default: 0)")
    add_n_jobs(parser)
    parser.add_argument(
        "--time-limit",
        type=_positive_minutes,
        metavar="MINUTES",
        help="Exclude estimators that cannot finish in this time (default: no limit)",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="Keep estimators exact beyond 10,000 images, where svm and svr are approximated, and beyond 100,000, "
        "where rows are read in blocks",
    )
    _add_split(parser)
    add_tables(parser)
    _add_results(parser)
    add_extraction_options(parser, repeatable=True)
    add_common(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    results = parser.add_argument_group("results")
    results.add_argument("--report", metavar="FILE", help="Write a self-contained HTML report")
    results.add_argument(
        "--tsne",
        action="store_true",
        help="Draw the feature map of the report by t-SNE, even if it takes more than 15 seconds",
    )
    results.add_argument(
        "--diagnostics",
        action="store_true",
        help="Also score with fewer training images (learning curve), and search for label errors without logreg",
    )
    results.add_argument("--csv", metavar="FILE", help="Also write the table as CSV")
    results.add_argument("--label-issues", metavar="FILE", help="Also write likely label errors as CSV")


def _positive_minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of minutes, got {text!r}.")
    return minutes


def _add_split(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("split")
    group.add_argument("--cv", type=int, metavar="N", help="Number of stratified folds (default: 5)")
    group.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="Number of repetitions of the folds (default: 1)"
    )
    group.add_argument(
        "--test",
        action="append",
        metavar="SOURCE",
        help="Test images or features, instead of cross-validation; repeatable",
    )
    add_groups(group)


def _add_rank(commands: Any) -> None:
    summary = "Rank backbones, layers and poolings for labeled images without training"
    parser = add_command(commands, "rank", summary, _RANK_EXAMPLES, run=_rank)
    add_sources(parser, features=True)
    add_backbones(parser)
    add_task(parser)
    add_groups(parser)
    parser.add_argument("--csv", metavar="FILE", help="Also write the table as CSV")
    add_tables(parser)
    add_extraction_options(parser, repeatable=True)
    add_common(parser)


def _compare(args: argparse.Namespace) -> None:
    from featx.features.open import is_features
    from featx.system.files.output_paths import check_output_files
    from featx.workflows.result_output import is_report_file, is_table_file, write_csv

    outputs = [(args.csv, is_table_file), (args.label_issues, is_table_file), (args.report, is_report_file)]
    check_output_files(outputs, [*args.source, *(args.test or [])])
    comparison = _compare_features(args) if any(map(is_features, args.source)) else _compare_images(args)
    print_result(args, comparison)
    if args.csv:
        comparison.to_csv(args.csv)
    if args.report:
        print_message(args, "Writing the report …")
        comparison.to_html(args.report, tsne=True if args.tsne else None, command=command_of(args))
        print_message(args, f"Open {args.report} in a browser.")
    if args.label_issues:
        table = comparison.label_issues_table()
        write_csv(Path(args.label_issues), table)
        if table.empty:
            print_message(args, f"No likely label errors were found; {args.label_issues} has only a header.")


def _comparison_options_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of comparisons of images and of features."""
    return {
        "estimators": args.estimator,
        "task": args.task,
        "cv": args.cv,
        "repeats": args.repeats,
        "duplicate_groups": not args.no_duplicate_groups,
        "duplicate_threshold": args.duplicate_threshold,
        "tune": args.tune,
        "diagnostics": bool(args.diagnostics or args.report or args.label_issues or args.json),
        "random_state": args.random_state,
        "n_jobs": args.n_jobs,
        "time_limit": args.time_limit,
        "exact": args.exact,
        "prompts": args.prompts,
    }


def _compare_features(args: argparse.Namespace) -> ImageComparison:
    from featx.errors import OptionError
    from featx.workflows.stored.compare import compare_features

    if len(args.source) > 1:
        raise OptionError(
            f"SOURCE must be one job or feature file, got {len(args.source):,} sources. Compare each by itself."
        )
    given = [name for name in (*EXTRACTION_OPTIONS, "backbone", "on_error", *_IMAGE_OPTIONS) if _is_given(args, name)]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        remedy = (
            f"compare the images, or extract them again with {option}" if given[0] in _KEPT else "compare the images"
        )
        raise OptionError(f"{option} does not apply to features that are extracted already. Remove it, or {remedy}.")
    return compare_features(
        args.source[0],
        test=_test_features_from(args),
        label_separator=args.label_separator,
        cache=cache_from(args),
        **_comparison_options_from(args),
    )


def _test_features_from(args: argparse.Namespace) -> str | None:
    """Return the path of the test features, if any."""
    from featx.errors import OptionError
    from featx.features.open import is_features

    if not args.test:
        return None
    if len(args.test) > 1 or not is_features(args.test[0]):
        raise OptionError(
            f"--test must be one job or feature file, as SOURCE is, got {' '.join(map(repr, args.test))}. Extract the "
            "test images with the same options: featx extract TEST -o test.npy"
        )
    return str(args.test[0])


def _is_given(args: argparse.Namespace, name: str) -> bool:
    return getattr(args, name, None) not in (None, _DEFAULTS.get(name))


def _compare_images(args: argparse.Namespace) -> ImageComparison:
    from featx.datasets.find import find_images
    from featx.datasets.image_listing import is_table
    from featx.features.open import is_features, open_features
    from featx.workflows.compare import compare_images

    backbones = _all_options(args)
    table = labeled_images_from(args)
    test: Any = None
    if args.test and len(args.test) == 1 and is_features(args.test[0]):
        test = open_features(args.test[0])
    elif args.test:  # options of tables apply to tables only; the test images may be in a folder
        test = find_images(args.test, **source_options_from(args, tables=is_table(args.test)))
    comparison = compare_images(
        table,
        test=test,
        backbones=backbones,
        **{**_comparison_options_from(args), **workflow_options_from(args)},
    )
    note_ignored(args, table.ignored)
    return comparison


def _rank(args: argparse.Namespace) -> None:
    from featx.system.files.output_paths import check_output_files
    from featx.workflows.rank import rank_images
    from featx.workflows.result_output import is_table_file, write_csv

    check_output_files([(args.csv, is_table_file)], args.source)
    backbones = _all_options(args)
    table = labeled_images_from(args)
    ranking = rank_images(table, backbones=backbones, **workflow_options_from(args))
    note_ignored(args, table.ignored)
    print_result(args, ranking)
    if args.csv:
        write_csv(Path(args.csv), ranking.table)


def _all_options(args: argparse.Namespace) -> list[ExtractionOptions]:
    """Return every combination of the given backbones, layers, poolings and test-time augmentations."""
    from featx.backbones.registry import DirectBackbone, load_backbone

    several = {name: getattr(args, name) for name in ("layer", "pooling", "tta") if hasattr(args, name)}
    without_layers = {**several, "layer": [None], "pooling": ["native"]}
    names = dict.fromkeys(args.backbone or ["mobilenet"])
    # Plain Python backbones have neither layers nor poolings; the options apply to the other networks.
    plain = {name for name in names if len(names) > 1 and isinstance(load_backbone(name), DirectBackbone)}
    return [
        options_from(argparse.Namespace(**{**vars(args), **chosen}), backbone)
        for backbone in names
        for chosen in _combinations(without_layers if backbone in plain else several)
    ]


def _combinations(several: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    chosen = itertools.product(*(dict.fromkeys(given) for given in several.values()))
    return [dict(zip(several, values, strict=True)) for values in chosen]
