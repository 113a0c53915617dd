"""Processes that extract images into a cache, for tests of crashes and of locks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.store.verify import verify_cache
from featx.system.files import checksummed_json

#: Extract images, and log the rows of each batch before they are cached.
RUN = """
import json, os, sys, tempfile, time
from pathlib import Path
import numpy as np
import featx, featx.store.store, featx.system.locks
from featx.errors import StoreError
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract

task = json.load(sys.stdin)

class Slow(CountingBackbone):
    def extract(self, pixels):
        time.sleep(task["seconds"] * len(pixels))
        with open(task["log"], "a") as log:
            log.write("".join(f"{row.tobytes().hex()}\\n" for row in super().extract(pixels)))
        return super().extract(pixels)

featx.register_backbone(Slow())
featx.store.store.Store.segment_seconds = task["segment_seconds"]
featx.system.locks.FairLock.hold_seconds = task["hold_seconds"]
if not task["uses_locks"]:  # as for processes on several machines
    featx.system.locks.fcntl = None
if task["as_nobody"] and os.geteuid() == 0:  # permissions do not apply to root
    with tempfile.TemporaryDirectory() as folder:  # import everything while it can be read
        extract(task["paths"][:1], Path(folder))
    os.unlink(task["log"])
    os.setgid(65534)
    os.setuid(65534)
try:
    rows, done = extract(task["paths"], Path(task["cache"]), batch_size=2)
except StoreError as error:
    sys.exit(f"Error: {error}")
np.save(task["log"] + ".npy", rows)
"""


def start(log: Path, cache: Path, paths: Sequence[str], **task: Any) -> subprocess.Popen[str]:
    """Start a process that extracts images with a slow backbone."""
    arguments = {"log": str(log), "cache": str(cache), "paths": list(paths)}
    defaults = {"seconds": 0.01, "segment_seconds": 0.05, "hold_seconds": 2.0, "uses_locks": True, "as_nobody": False}
    command = [sys.executable, "-W", "error", "-c", RUN]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=pipe, stderr=pipe, text=True)
    assert run.stdin is not None
    run.stdin.write(json.dumps({**arguments, **defaults, **task}))
    run.stdin.close()
    run.stdin = None
    return run


def finish(run: subprocess.Popen[str]) -> str:
    """Wait for a run that must succeed; return its standard error."""
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 0, stderr
    return stderr


def committed(cache: Path) -> set[str]:
    """Return the digests of all committed rows."""
    manifests = cache.glob("features/*/*.json")
    digests = "".join(checksummed_json.load(path)["digests"] for path in manifests if path.name != "recipe.json")
    return {digests[start : start + 32] for start in range(0, len(digests), 32)}


def computed(log: Path) -> list[str]:
    """Return the rows that were computed; a batch is logged completely or not at all."""
    return [line for line in log.read_text().splitlines() if len(line) == 96] if log.exists() else []


def assert_clean(cache: Path) -> None:
    assert verify_cache(cache) == []
    assert not [path for path in cache.rglob("*") if re.search(r"\.tmp|-journal", path.name)]
