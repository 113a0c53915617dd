"""The parser of the whole command line."""

from __future__ import annotations

import argparse

from featx.cli.commands import (
    backbones,
    benchmark,
    cache,
    check,
    compare,
    demo,
    extract,
    job,
    model,
    requirements,
    search,
)
from featx.cli.strict_parser import StrictParser
from featx.system.version import __version__


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; it sets ``command`` to the name of the one that was given."""
    parser = StrictParser(
        prog="featx",
        description="Extract and cache image features for scikit-learn with a frozen network.",
        epilog="Start with: featx demo. Help for a command: featx COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"featx {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for family in (extract, compare, model, search, check, benchmark, demo, backbones, requirements, job, cache):
        family.add_commands(commands)
    return parser
