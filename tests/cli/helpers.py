"""Run the command as a user does."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def featx(*args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "featx", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def parsers(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the words of each command and its parser, the whole command line first."""
    yield command, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, f"{command} {name}".strip())
