"""A Dask cluster on this machine whose processes communicate over TCP."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: Dask's command, which ends with all that it has started when its standard input does: when we are gone.
_COMMAND = """
import os, signal, threading
def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_parent, daemon=True).start()
from dask.__main__ import main
main()
"""


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host = folder, host
        self.root = _ROOT  # on the path of the started processes
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self, **environment: str) -> subprocess.Popen[bytes]:
        options = ("--host", self._host, "--port", str(self.port), "--no-dashboard")
        process = self._start("scheduler", *options, **environment)
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return process
            assert time.monotonic() < until, self.logs()
            time.sleep(0.1)

    def start_worker(self, address: str = "", network: str = "", **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker and its nanny, which starts the worker again when it dies."""
        options = ("--nthreads", "1", "--no-dashboard", "--memory-limit", "0")
        return self._start("worker", address or self.address, *options, network=network, **environment)

    def wait_for_workers(self, n_workers: int) -> None:
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=60)

    def _start(self, kind: str, *options: str, network: str = "", **environment: str) -> subprocess.Popen[bytes]:
        within = ["ip", "netns", "exec", network] if network else []
        command = [*within, sys.executable, "-c", _COMMAND, kind, *options]
        with open(self._folder / f"{kind}-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(self.root), **environment},
                cwd=self._folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self._folder.glob("*.log")))

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """Kill a process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def end(self) -> None:
        for process in reversed(self.processes):
            self.kill(process)


@contextlib.contextmanager
def cluster(folder: Path, n_workers: int = 2, host: str = "127.0.0.1", **environment: str) -> Iterator[Cluster]:
    """Start a cluster; the variables are in the environment of its scheduler."""
    folder.mkdir(parents=True, exist_ok=True)
    started = Cluster(folder, host)
    try:
        started.start_scheduler(**environment)
        for _ in range(n_workers):
            started.start_worker()
        yield started
    finally:
        started.end()
