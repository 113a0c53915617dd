"""Run the command as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def featx(*args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "featx", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
