"""Inspect, verify, compact and clear the feature cache: ``featx cache``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from featx.cli.console import add_group, print_result
from featx.cli.shared_options import add_command, add_common
from featx.errors import OptionError
from featx.system.terminal.messages import write_line

_CACHE_EXAMPLES = """examples:
  featx cache info
  featx cache verify
  featx cache compact
  featx cache clear --backbone resnet50
"""


def add_commands(commands: Any) -> None:
    """Add ``cache`` and the commands within it."""
    summary = "Inspect, verify, compact or clear the feature cache"
    actions = add_group(commands, "cache", summary, _CACHE_EXAMPLES)

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
    clear.add_argument("--dry-run", action="store_true", help="Show what would be removed, and remove nothing")
    clear.add_argument("--yes", action="store_true", help="Do not ask for confirmation")


def _cache_info(args: argparse.Namespace) -> None:
    from featx.extraction.cache import cache_info

    info = cache_info(args.cache, backbone=args.backbone)
    print_result(args, info)


def _cache_verify(args: argparse.Namespace) -> int:
    from featx.extraction.cache import verify_cache

    result = verify_cache(args.cache, backbone=args.backbone)
    print_result(args, result)
    return 1 if result.n_corrupt else 0


def _cache_compact(args: argparse.Namespace) -> int:
    from featx.extraction.cache import compact_cache

    result = compact_cache(args.cache, backbone=args.backbone)
    print_result(args, result)
    return 1 if result.n_corrupt else 0


def _cache_clear(args: argparse.Namespace) -> int:
    from featx.extraction.cache import clear_cache

    plan = clear_cache(args.cache, backbone=args.backbone, corrupt_only=args.corrupt_only, dry_run=True)
    if args.dry_run:
        print_result(args, plan)
        return 0
    if not args.yes and not _confirmed(f"{plan.as_text()}. Continue? [y/N] "):
        write_line("Nothing was removed.")
        return 1
    print_result(args, clear_cache(args.cache, backbone=args.backbone, corrupt_only=args.corrupt_only))
    return 0


def _confirmed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise OptionError("Cannot ask for confirmation: standard input is no terminal. Pass --yes to remove the files.")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
