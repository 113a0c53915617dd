"""Print the requirements of an installation: ``featx requirements``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from featx.cli.console import print_data
from featx.cli.shared_options import add_command, add_common


def add_commands(commands: Any) -> None:
    """Add ``requirements``."""
    summary = "Print the packages that featx needs, for a requirements file"
    examples = (
        "examples:\n  featx requirements --serve > serve.txt\n"
        "  pip install -r serve.txt && pip install --no-deps featx\n"
    )
    parser = add_command(commands, "requirements", summary, examples, run=_requirements)
    parser.add_argument(
        "--serve",
        action="store_true",
        help="Only what predicting with a model needs: no tensorflow, scikit-learn or pandas",
    )
    add_common(parser, json_help="Print one JSON list instead of text")


def _requirements(args: argparse.Namespace) -> None:
    from featx.system.requirements import requirements

    lines = requirements(serve=args.serve)
    print_data(json.dumps(lines) if args.json else "\n".join(lines))
