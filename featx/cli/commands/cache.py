"""Inspect, verify, compact and clear the feature cache: ``featx cache``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from featx.cli.console import cache_folder_from, print_data, say
from featx.cli.shared_options import add_command, add_common
from featx.errors import OptionError
from featx.system.formatting import format_bytes, format_count

_CACHE_EXAMPLES = """examples:
  featx cache info
  featx cache verify
  featx cache compact
  featx cache clear --backbone resnet50
"""


def add_commands(commands: Any) -> None:
    """Add ``cache`` and the commands within it."""
    summary = "Inspect, verify, compact or clear the feature cache"
    parser = commands.add_parser(
        "cache",
        help=summary,
        description=f"{summary}.",
        epilog=_CACHE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        name: str, summary: str, example: str, run: Callable[[argparse.Namespace], int | None]
    ) -> argparse.ArgumentParser:
        added = add_command(actions, name, summary, f"example:\n  featx cache {example}\n", run=run)
        added.set_defaults(command=f"cache {name}")
        added.add_argument(
            "--cache", default="auto", metavar="DIR", help="Feature cache (default: $FEATX_CACHE, else cache/)"
        )
        added.add_argument(
            "--backbone",
            metavar="NAME",
            help="Only rows of this backbone, model file or recipe fingerprint",
        )
        add_common(added)
        return added

    add("info", "Show recipes, their number of rows and their size", "info --json", _cache_info)
    verify = "Read every file and list corrupt ones; exit with code 1 if there are any"
    add("verify", verify, "verify --cache cache/", _cache_verify)
    add(
        "compact",
        "Merge small segments; other processes may read and write meanwhile",
        "compact",
        _cache_compact,
    )
    clear = add("clear", "Remove rows, compiled graphs and the index", "clear --backbone resnet50 --yes", _cache_clear)
    clear.add_argument("--corrupt-only", action="store_true", help="Remove quarantined corrupt files only")
    clear.add_argument("--yes", action="store_true", help="Do not ask for confirmation")


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
    n_corrupt = sum(finding.is_damage for finding in findings)
    if args.json:
        print_data(
            json.dumps({"corrupt": n_corrupt, "findings": [dataclasses.asdict(finding) for finding in findings]})
        )
    else:
        lines = [f"{finding.path}: {finding.problem}; {finding.consequence}" for finding in findings]
        print_data("\n".join([*lines, f"{cache}: {f'{n_corrupt} corrupt' if n_corrupt else 'no corrupt files'}"]))
    return 1 if n_corrupt else 0


def _cache_compact(args: argparse.Namespace) -> int:
    from featx.store.maintenance import compact_cache

    done = compact_cache(cache_folder_from(args), fingerprints=_fingerprints(args))
    corrupt = [error for compaction in done.values() for error in compaction.damaged]
    if args.json:
        print_data(json.dumps({fingerprint: compaction.as_dict() for fingerprint, compaction in done.items()}))
    else:
        print_data("\n".join(f"{name}: {compaction.as_text()}" for name, compaction in done.items()) or "no rows")
    if corrupt:
        say(
            args,
            f"{format_count(len(corrupt), 'corrupt segment')} not compacted. Run featx cache verify for details.",
        )
    return 1 if corrupt else 0


def _cache_clear(args: argparse.Namespace) -> None:
    from featx.extraction.cache import find_recipes
    from featx.store.info import describe_cache
    from featx.store.maintenance import clear_cache, clear_set_aside

    cache = cache_folder_from(args)
    info = describe_cache(cache)
    chosen = find_recipes(info, args.backbone) if args.backbone else info.recipes
    fingerprints = [recipe.fingerprint for recipe in chosen] if args.backbone else None
    n_rows = 0 if args.corrupt_only else sum(recipe.rows for recipe in chosen)
    n_bytes = info.bytes if not args.backbone else sum(recipe.bytes for recipe in chosen)
    what = f"{format_count(n_rows, 'row')} of {format_count(len(chosen), 'recipe')}"
    if args.corrupt_only:
        n_bytes = info.set_aside_bytes if not args.backbone else sum(recipe.set_aside_bytes for recipe in chosen)
        what = "quarantined corrupt files"
    elif not args.backbone:
        what += " and all other files of the cache"
    what += f", {format_bytes(n_bytes)}"
    if not args.yes and not _confirmed(f"Remove {what} from {cache}? [y/N] "):
        raise OptionError("Nothing was removed: expected the answer y. Answer y, or pass --yes.")
    (clear_set_aside if args.corrupt_only else clear_cache)(cache, fingerprints=fingerprints)
    print_data(json.dumps({"rows": n_rows, "bytes": n_bytes}) if args.json else f"Removed {what} from {cache}")


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
