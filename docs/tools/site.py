"""Building the site, and checking what was built."""

from __future__ import annotations

import time
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"


def build() -> int:
    """Build the site with warnings as errors, and return the exit code."""
    start = time.perf_counter()
    arguments = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-c", str(ROOT / "docs"), str(ROOT), str(SITE)]
    code = sphinx_build(arguments)
    print(f"{SITE.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s")
    return code
