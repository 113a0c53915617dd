"""Run commands in a terminal of a given width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType

_LOOP = """
import json, sys
from featx.cli.main import main
for line in sys.stdin:
    print(f"\\0{main(json.loads(line))}\\0", flush=True)
"""


class Terminal:
    """A terminal in which one process runs commands one after the other: importing featx takes longer than most.

    Parameters
    ----------
    folder : Path
        Working directory.
    """

    def __init__(self, folder: Path) -> None:
        self._leader, follower = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=follower,
            stderr=subprocess.DEVNULL,  # progress
            env=environment,
            cwd=folder,
            text=True,
        )
        os.close(follower)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        os.close(self._leader)

    def run(self, columns: int, *arguments: str) -> list[str]:
        """Return the lines that ``featx`` prints to the terminal."""
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        data = b""
        while data.count(b"\0") < 2:  # an error is raised if the process ends
            data += os.read(self._leader, 2**16)
        output, code, _ = data.decode().split("\0")
        assert code == "0", arguments
        return output.replace("\r\n", "\n").removeprefix("\n").split("\n")
