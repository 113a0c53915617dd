from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from featx.system import locks as turns
from featx.system.locks import Turns
from featx.testing import CountingBackbone
from tests.extraction.test_extract import extract
from tests.store.test_crashes import computed, finish, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A queue of this test's own."""
    return str(tmp_path)


def test_one_has_the_turn_and_the_next_waits_until_it_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    first, second = Turns(name), Turns(name)
    first.take()
    assert first.is_mine
    assert not first.should_be_given_up  # nobody waits
    waited: list[float] = []
    thread = threading.Thread(target=lambda: (second.take(), waited.append(time.monotonic())))
    thread.start()
    deadline = time.monotonic() + 10
    while not first.should_be_given_up and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not waited
    given_up = time.monotonic()
    first.give_up()
    thread.join(10)
    assert waited[0] >= given_up
    assert second.is_mine
    assert not first.is_mine
    second.give_up()


def test_a_short_turn_is_not_given_up(name: str) -> None:
    turn = Turns(name)
    turn.take()
    assert not turn.should_be_given_up
    turn.give_up()


def test_others_are_let_in_before_it_is_taken_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    order: list[str] = []

    def work(who: str) -> None:
        mine = Turns(name)
        for _ in range(5):
            mine.take()
            order.append(who)
            time.sleep(0.03)
            mine.give_up()

    threads = [threading.Thread(target=work, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(one != other for one, other in itertools.pairwise(order)) >= 6, order


def test_a_holder_that_died_holds_nothing_and_one_that_sleeps_not_for_ever(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import sys, time; from featx.system.locks import Turns\n"
        "Turns(sys.argv[1]).take(); print('mine', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.5)
        waiting = Turns(name)
        waiting.take()
        assert waiting.is_mine
        waiting.give_up()
        assert "Is one stopped (Ctrl-Z) or stuck?" in caplog.text
        monkeypatch.setattr(turns, "PATIENCE_SECONDS", 60.0)
        started = time.monotonic()
        Turns(name).take()  # not waited for once more
        assert time.monotonic() - started < 1
        holder.kill()
        holder.wait()
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 60.0)
    waiting.take()
    waiting.give_up()


def test_a_holder_that_shows_signs_of_life_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.4)
    monkeypatch.setattr(turns, "_SIGN_SECONDS", 0.1)
    holder, waiting = Turns(name), Turns(name)
    holder.take()

    def hold() -> None:
        for _ in range(20):
            time.sleep(0.06)
            assert not holder.should_be_given_up
        holder.give_up()

    thread = threading.Thread(target=hold)
    started = time.monotonic()
    thread.start()
    waiting.take()
    assert time.monotonic() - started > 1
    thread.join()
    waiting.give_up()


def test_where_locks_cannot_be_had_everybody_goes_on(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("featx.system.locks.tempfile.gettempdir", lambda: str(tmp_path / "absent"))
    for one in (Turns(name), Turns(name)):
        one.take()
        assert one.is_mine
        assert not one.should_be_given_up
    monkeypatch.setattr(turns, "fcntl", None)
    Turns(name).take()


def test_processes_that_want_the_same_rows_at_once_compute_each_once(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    reference, _ = extract(paths, None)
    logs = [tmp_path / str(number) for number in range(3)]
    # So slow that each has given up its turn before it is done.
    runs = [start(log, tmp_path / "cache", paths, seconds=0.05, turn_seconds=0.2) for log in logs]
    for log, run in zip(logs, runs, strict=True):
        finish(run)
        np.testing.assert_array_equal(np.load(f"{log}.npy"), reference)
    shown = [row for log in logs for row in computed(log)]
    assert len(shown) == len(set(shown)) == 24
    assert set(shown) == {row.tobytes().hex() for row in reference}
    assert sum(bool(computed(log)) for log in logs) > 1
