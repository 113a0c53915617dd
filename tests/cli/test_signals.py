from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from featx.cli import main as cli
from featx.cli.signals import Interrupts
from featx.errors import EngineError
from tests.cli.helpers import featx

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_interrupts(number: int) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert interrupts.first == number
    assert signal.getsignal(number) is before


def test_second_signal_is_ignored_for_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # ignored: the command is ending
        monkeypatch.setattr("featx.cli.signals._IGNORE_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)  # but not if that takes too long
    assert interrupts.first == signal.SIGINT


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
        assert not interrupts.first
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_set_no_handlers() -> None:
    thread = threading.Thread(target=lambda: Interrupts().__enter__().__exit__())
    thread.start()
    thread.join()


@pytest.mark.parametrize("error", [EngineError("cannot be imported"), AttributeError("half imported")])
def test_library_error_after_interrupt_is_reported_as_interrupt(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swallowed(args: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as interrupt:
            raise error from interrupt

    monkeypatch.setattr("featx.cli.commands.backbones.show_backbones", swallowed)
    assert cli.main(["backbones"]) == 143
    assert capsys.readouterr().err.startswith("Interrupted. Rows already written are kept. Repeat the command")


@pytest.mark.slow
def test_signal_at_any_moment_prints_one_line(tmp_path: Path) -> None:
    """From the first import to the last byte, once or twice."""
    (tmp_path / "photos").mkdir()
    command = [sys.executable, "-m", "featx", "cache", "info", "--cache", str(tmp_path)]
    codes = set()
    for at in range(40):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.02 + 0.005 * at)
        for _ in range(1 + at % 2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        _, err = process.communicate(timeout=60)
        codes.add(process.returncode)
        # Before featx is imported, Python itself handles an interrupt.
        assert "Traceback" not in err or not re.search(r"/featx/(?!__init__)", err), err
    assert codes <= {1, 130, -signal.SIGINT}


_FITTING = """
import os, signal, sys, threading, time
import numpy as np
from sklearn.svm import SVC
from featx.cli import main as cli
from featx.cli.commands import backbones

X = np.random.default_rng(0).random((2000, 300))
fitting = threading.Event()

def fit():
    while True:
        fitting.set()
        SVC().fit(X, np.arange(len(X)) % 4)

def command(args):
    for _ in range(2):
        threading.Thread(target=fit, daemon=True).start()
    fitting.wait()
    time.sleep(0.1)
    print("data")
    if code:
        signal.raise_signal(signal.SIGINT)

backbones.show_backbones = command
code = int(sys.argv[1])
sys.argv = ["featx", "backbones"]
cli.run()
"""


@pytest.mark.parametrize("code", [130, 0])
def test_running_threads_do_not_change_exit_code(code: int) -> None:
    """Python 3.11 crashed in three of five runs when it shut down around running threads."""
    for _ in range(2):
        command = [sys.executable, "-c", _FITTING, str(code)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == code, done
        assert done.stdout == "data\n"
        assert done.stderr.count("\n") == (1 if code else 0)


def test_interrupt_in_destructor_is_sent_again(capfd: pytest.CaptureFixture[str]) -> None:
    class Destroyed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts() as signals:
            Destroyed()
            time.sleep(5)
        assert signals.first == signal.SIGINT
        assert capfd.readouterr().err == ""
    finally:
        signal.signal(signal.SIGINT, was)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.thorough), (signal.SIGTERM, 143)]
)
def test_extract_continues_after_signal(
    number: int, code: int, photo_folder: Path, in_folder: Path, compiled_cache: Path, photos: Any
) -> None:
    for n in range(600):
        photos[n % 24].crop((n % 60, n // 60, 120, 100)).save(photo_folder / "china" / f"{n}.png")
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    command = [sys.executable, "-m", "featx", "extract", str(photo_folder), "--cache", "cache", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 30
        while not list(in_folder.glob(".*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert running.returncode == code
    assert out == ""
    assert err.splitlines()[-1].startswith("Interrupted.")
    assert "Traceback" not in err
    assert os.listdir(in_folder) == ["cache"]
    assert not list(Path("cache").rglob("*.tmp"))
    assert featx("cache", "verify", "--cache", "cache").returncode == 0
    info = json.loads(featx("cache", "info", "--cache", "cache", "--json").stdout)
    kept = sum(recipe["rows"] for recipe in info["recipes"])
    again = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert again["rows"] == 624
    assert again["cached"] >= kept
    assert again["computed"] <= 624 - kept
