"""The command line: parse → call → print. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from featx.cli import job as job_commands
from featx.cli import model as model_commands
from featx.cli import search as search_commands
from featx.cli.arguments import make_parser
from featx.cli.console import (
    ReaderGoneError,
    cache_folder_from,
    cache_from,
    columns_from,
    command_of,
    note_ignored,
    options_from,
    print_data,
    say,
    show_all_characters,
)
from featx.cli.signals import SIGNALS, Interrupts, leave_at_once
from featx.errors import FeatxError, OptionError
from featx.system.formatting import as_columns, counted, in_bytes
from featx.system.progress import show_messages, write_line

if TYPE_CHECKING:
    from featx.backbones.registry import Backbone
    from featx.extraction.options import ExtractionOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    0, 1 for an error or a damaged cache, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
    """
    with Interrupts() as signals:
        show_all_characters()
        args = argparse.Namespace(command="")
        try:
            args = make_parser().parse_args(argv)
            args.argv = sys.argv[1:] if argv is None else list(argv)
            show_messages(getattr(args, "quiet", False))
            return _COMMANDS[args.command](args) or 0
        except KeyboardInterrupt:
            return _interrupted(args.command, signals)
        except FeatxError as error:
            if signals.first:  # whatever went wrong then, somebody wanted it to end
                return _interrupted(args.command, signals)
            write_line(f"Error: {error}")
            return 1
        except ReaderGoneError:
            return 1
        except Exception:
            if signals.first:  # libraries may turn an interrupt into an error of their own
                return _interrupted(args.command, signals)
            raise


def run() -> NoReturn:
    """Run the command that was given to the process, and end the process."""
    try:
        code = main()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the last word is said; nothing is to change the exit code
    except KeyboardInterrupt:  # between the command's own handlers and the end, when all is said and done
        code = 128 + signal.SIGINT
    leave_at_once(code)


def _interrupted(command: str, signals: Interrupts) -> int:
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal has just echoed ^C
    kept = "" if command.startswith("cache ") else "Rows already committed are kept; "
    write_line(f"Interrupted. {kept}the same command goes on from there.".replace(". t", ". T"))
    return 128 + (signals.first or signal.SIGINT)


def _extract(args: argparse.Namespace) -> int | None:
    if job_commands.is_job_output(args.output):
        return job_commands.extract(args)
    from featx.datasets.table_file import find_labelled
    from featx.extraction.to_file import check_output, extract_to_file
    from featx.system.progress import progress_bar

    output = Path(args.output)
    check_output(output, otherwise="For a job of shards that can be resumed, a folder with a slash: -o features/.")
    options = options_from(args, args.backbone)
    table = find_labelled(args.source, **columns_from(args))
    resolved = options.resolve()
    with progress_bar(len(table), args.backbone, shown=not args.quiet) as progress:
        summary = extract_to_file(
            table, resolved, output, cache=cache_from(args), on_error=args.on_error, progress=progress
        )
    note_ignored(args, table.ignored)
    print_data(json.dumps(vars(summary)) if args.json else summary.as_text())
    return None


def _compare(args: argparse.Namespace) -> None:
    from featx.datasets.table_file import find_labelled, is_table
    from featx.system.files.output_paths import check_output_files
    from featx.workflows.compare import compare_tables
    from featx.workflows.request import GROUPS, ComparisonConfig
    from featx.workflows.result import is_report_file, is_table_file, write_csv

    outputs = [(args.csv, is_table_file), (args.label_issues, is_table_file), (args.report, is_report_file)]
    check_output_files(outputs, [*args.source, *(args.test or [])])
    column = None if args.groups in GROUPS else args.groups
    config = ComparisonConfig(
        estimators=args.estimator,
        task=args.task,
        cv=args.cv,
        repeats=args.repeats,
        groups=args.groups if column is None else "auto",
        duplicate_threshold=args.duplicate_threshold,
        tune=args.tune,
        diagnostics=bool(args.learning_curve or args.report or args.label_issues or args.json),
        random_state=args.random_state,
        n_jobs=args.n_jobs,
    )
    options = _all_options(args)
    columns = columns_from(args)
    table = find_labelled(args.source, group_column=column, **columns)
    test = None
    if args.test:  # columns are those of tables; a folder may be tested on beside one
        test = find_labelled(args.test, **({"group_column": column, **columns} if is_table(args.test) else {}))
    started = time.perf_counter()
    comparison = compare_tables(
        table,
        options,
        config,
        test=test,
        cache=cache_from(args),
        on_error=args.on_error,
        show_progress=not args.quiet,
        progress=lambda text: say(args, text),
    )
    note_ignored(args, table.ignored)
    print_data(json.dumps(comparison.as_dict()) if args.json else comparison.as_text())
    if args.csv:
        write_csv(Path(args.csv), comparison.table)
    if args.report:
        from featx.workflows.report.report import write_report

        say(args, "Writing the report …")
        write_report(
            Path(args.report),
            comparison,
            command=command_of(args),
            seconds=time.perf_counter() - started,
            tsne=True if args.tsne else None,
            cache=cache_from(args),
        )
        say(args, f"The report is {args.report}: open it in a browser.")
    if args.label_issues:
        write_csv(Path(args.label_issues), comparison.label_issues_table())


def _rank(args: argparse.Namespace) -> None:
    from featx.datasets.table_file import find_labelled
    from featx.system.files.output_paths import check_output_files
    from featx.workflows.rank import rank_tables
    from featx.workflows.request import GROUPS, ComparisonConfig
    from featx.workflows.result import is_table_file, write_csv

    check_output_files([(args.csv, is_table_file)], args.source)
    column = None if args.groups in GROUPS else args.groups
    config = ComparisonConfig(
        task=args.task, groups=args.groups if column is None else "auto", duplicate_threshold=args.duplicate_threshold
    )
    options = _all_options(args)
    table = find_labelled(args.source, group_column=column, **columns_from(args))
    ranking = rank_tables(
        table,
        options,
        config,
        cache=cache_from(args),
        on_error=args.on_error,
        show_progress=not args.quiet,
        progress=lambda text: say(args, text),
    )
    note_ignored(args, table.ignored)
    print_data(json.dumps(ranking.as_dict()) if args.json else ranking.as_text())
    if args.csv:
        write_csv(Path(args.csv), ranking.table)


def _check(args: argparse.Namespace) -> int:
    import pandas as pd

    from featx.datasets.inspection import check_images
    from featx.datasets.table_file import find_labelled
    from featx.system.files.output_paths import check_output_files
    from featx.system.progress import progress_bar
    from featx.workflows.result import is_table_file, write_csv

    check_output_files([(args.csv, is_table_file)], args.source)
    table = find_labelled(args.source, **columns_from(args))
    with progress_bar(len(table), "check", shown=not args.quiet) as progress:
        check = check_images(table, max_pixels=args.max_pixels, progress=progress)
    if args.csv:
        # Objects: the text columns of pandas 3 take no names that are not UTF-8.
        found = pd.DataFrame(check.findings(), columns=["path", "finding", "detail"], dtype=object)
        write_csv(Path(args.csv), found)
    print_data(json.dumps(check.as_dict()) if args.json else check.as_text())
    return 1 if check.unreadable else 0


def _all_options(args: argparse.Namespace) -> list[ExtractionOptions]:
    """Return every combination of the backbones, layers, poolings and views that were asked for."""
    from featx.backbones.registry import DirectBackbone, load_backbone

    several = {name: getattr(args, name) for name in ("layer", "pooling", "tta") if hasattr(args, name)}
    of_control = {**several, "layer": [None], "pooling": ["avg"]}
    names = dict.fromkeys(args.backbone or ["mobilenet"])
    # The control has neither layers nor poolings; beside networks, those that are asked for are theirs.
    plain = {name for name in names if len(names) > 1 and isinstance(load_backbone(name), DirectBackbone)}
    return [
        options_from(argparse.Namespace(**{**vars(args), **chosen}), backbone)
        for backbone in names
        for chosen in _combinations(of_control if backbone in plain else several)
    ]


def _combinations(several: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    chosen = itertools.product(*(dict.fromkeys(given) for given in several.values()))
    return [dict(zip(several, values, strict=True)) for values in chosen]


def _demo(args: argparse.Namespace) -> None:
    from featx.cli.demo import run_demo

    run_demo(Path(args.folder), cache_folder_from(args), show_progress=not args.quiet, say=print_data)


def _bench(args: argparse.Namespace) -> None:
    import tempfile

    from featx.backbones.registry import load_backbone
    from featx.datasets.image_folder import find_images
    from featx.datasets.sample_images import write_sample_images
    from featx.extraction.benchmark import measure_throughput
    from featx.extraction.throughput import save_rates

    names = list(dict.fromkeys(args.backbone or ["mobilenet"]))
    if own := next((name for name in names if load_backbone(name).is_model_file), None):
        raise OptionError(
            f"{own!r} has nothing to be compared with: featx bench is for networks of keras.applications."
        )
    options = [options_from(args, backbone) for backbone in names]
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        paths = find_images(args.source).paths if args.source else write_sample_images(Path(folder))
        bench = measure_throughput(paths, options, cache=cache_from(args), progress=lambda text: say(args, text))
    print_data(json.dumps(bench.as_dict()) if args.json else bench.as_text())
    if cache := cache_from(args):
        try:
            save_rates(cache, {result.backbone: result.pipeline for result in bench.results})
        except OSError as error:
            say(args, f"The rates cannot be kept for `featx backbones`: {error}")


def _backbones(args: argparse.Namespace) -> None:
    from featx.backbones.registry import available_backbones, load_backbone
    from featx.extraction.throughput import read_rates

    backbones = [load_backbone(name) for name in (available_backbones() if args.name is None else [args.name])]
    if args.layers:
        if args.name is None:
            raise OptionError("--layers: of which network? Name it: featx backbones mobilenet --layers.")
        layers = backbones[0].layers()
        if not layers:
            raise OptionError(f"{args.name!r} is plain Python and has no layers. Leave --layers out.")
        rows = [
            {
                "place": place,
                "layer": layer.name,
                "kind": layer.kind,
                "shape": "×".join(map(str, layer.shape)),
                "features": layer.n_features("avg"),
                "block_ends": layer.ends_block,
            }
            for place, layer in enumerate(layers)
        ]
    else:
        rates = read_rates(cache_from(args))
        rows = [_backbone_row(one, rates.get(one.name)) for one in backbones]
    print_data(json.dumps(rows) if args.json else as_columns(rows))


def _backbone_row(backbone: Backbone, rate: float | None) -> dict[str, object]:
    from featx.backbones.files.network_file import NetworkFile
    from featx.backbones.registry import KerasBackbone

    row: dict[str, object] = {"backbone": backbone.name, "features": backbone.n_features("avg")}
    row |= {"image_size": backbone.image_size, "min_image_size": backbone.min_image_size}
    row |= {"parameters": None, "megabytes": None, "top_1": None, "weights": None}
    if isinstance(backbone, KerasBackbone):
        row["parameters"] = backbone.n_parameters or None
        row["megabytes"] = round(backbone.n_bytes / 1e6, 1) or None
        row["top_1"] = backbone.top_1
        row["weights"] = "here" if backbone.has_local_weights else "to be fetched"
    elif isinstance(backbone, NetworkFile):
        row |= {"min_image_size": None, "megabytes": round(backbone.n_bytes / 1e6, 1), "weights": "here"}
    return row | {"images_per_second": rate}


def _cache_info(args: argparse.Namespace) -> None:
    from featx.extraction.cache import find_recipes, format_cache_info
    from featx.store.info import describe_cache

    info = describe_cache(cache_folder_from(args))
    if args.backbone:
        info = dataclasses.replace(info, recipes=find_recipes(info, args.backbone))
    print_data(json.dumps(dataclasses.asdict(info)) if args.json else format_cache_info(info))


def _cache_verify(args: argparse.Namespace) -> int:
    from featx.store.verify import verify_cache

    cache = cache_folder_from(args)
    findings = verify_cache(cache, fingerprints=_fingerprints(args), progress=lambda text: say(args, text))
    n_damaged = sum(finding.is_damage for finding in findings)
    if args.json:
        print_data(
            json.dumps({"damaged": n_damaged, "findings": [dataclasses.asdict(finding) for finding in findings]})
        )
    else:
        lines = [f"{finding.path}: {finding.problem}; {finding.consequence}" for finding in findings]
        print_data("\n".join([*lines, f"{cache}: {f'{n_damaged} damaged' if n_damaged else 'whole'}"]))
    return 1 if n_damaged else 0


def _cache_compact(args: argparse.Namespace) -> int:
    from featx.store.maintenance import compact_cache

    done = compact_cache(cache_folder_from(args), fingerprints=_fingerprints(args))
    damaged = [error for compaction in done.values() for error in compaction.damaged]
    if args.json:
        print_data(json.dumps({fingerprint: compaction.as_dict() for fingerprint, compaction in done.items()}))
    else:
        print_data("\n".join(f"{name}: {compaction.as_text()}" for name, compaction in done.items()) or "no rows")
    if damaged:
        say(args, f"{counted(len(damaged), 'damaged segment')} left as found: featx cache verify tells what is wrong.")
    return 1 if damaged else 0


def _cache_clear(args: argparse.Namespace) -> None:
    from featx.extraction.cache import find_recipes
    from featx.store.info import describe_cache
    from featx.store.maintenance import clear_cache, clear_set_aside

    cache = cache_folder_from(args)
    info = describe_cache(cache)
    chosen = find_recipes(info, args.backbone) if args.backbone else info.recipes
    fingerprints = [recipe.fingerprint for recipe in chosen] if args.backbone else None
    n_rows = 0 if args.damaged else sum(recipe.rows for recipe in chosen)
    n_bytes = info.bytes if not args.backbone else sum(recipe.bytes for recipe in chosen)
    what = f"{counted(n_rows, 'row')} of {counted(len(chosen), 'recipe')}"
    if args.damaged:
        n_bytes = info.set_aside_bytes if not args.backbone else sum(recipe.set_aside_bytes for recipe in chosen)
        what = "damaged files that were set aside"
    elif not args.backbone:
        what += " and everything else that featx keeps there"
    what += f", {in_bytes(n_bytes)}"
    if not args.yes and not _confirmed(f"Remove {what}, from {cache}? [y/N] "):
        raise OptionError("Nothing was removed: answer y, or pass --yes.")
    (clear_set_aside if args.damaged else clear_cache)(cache, fingerprints=fingerprints)
    print_data(json.dumps({"rows": n_rows, "bytes": n_bytes}) if args.json else f"Removed {what}, from {cache}")


def _fingerprints(args: argparse.Namespace) -> list[str] | None:
    from featx.extraction.cache import find_recipes
    from featx.store.info import describe_cache

    if not args.backbone:
        return None
    return [recipe.fingerprint for recipe in find_recipes(describe_cache(cache_folder_from(args)), args.backbone)]


def _confirmed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "extract": _extract,
    "compare": _compare,
    "train": model_commands.train,
    "model": model_commands.model,
    "predict": model_commands.predict,
    "explain": model_commands.explain,
    "export": model_commands.export,
    "similar": search_commands.similar,
    "duplicates": search_commands.duplicates,
    "rank": _rank,
    "check": _check,
    "bench": _bench,
    "demo": _demo,
    "backbones": _backbones,
    "job": job_commands.show_help,
    "job plan": job_commands.plan,
    "job run": job_commands.run,
    "job status": job_commands.status,
    "job merge": job_commands.merge,
    "cache info": _cache_info,
    "cache verify": _cache_verify,
    "cache compact": _cache_compact,
    "cache clear": _cache_clear,
}
