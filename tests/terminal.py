"""Run a command in a terminal of a given width."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path


def run_in_terminal(columns: int, *arguments: str, folder: Path | None = None) -> list[str]:
    """Return the lines that ``featx`` prints to a terminal; progress goes elsewhere."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "featx", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.PIPE, env=environment, cwd=folder
    ) as process:
        os.close(follower)
        data = b""
        with contextlib.suppress(OSError):  # the end of the terminal
            while block := os.read(leader, 2**16):
                data += block
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    os.close(leader)
    assert process.returncode == 0, errors
    return data.decode().replace("\r\n", "\n").split("\n")
