"""The channel from long calls to bars and to the function of the user."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import sys
import threading

import pytest

from featx import Progress
from featx.errors import OptionError
from featx.system.terminal.progress import announce, counted, describing, reporting, stage
from tests.progress import check_progress


def test_a_stage_reports_its_start_its_messages_and_its_end() -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("compare", 6, "folds") as advance:
        advance.describe("knn")
        advance(3)
        advance.describe("svm")
        advance(3)
    check_progress(seen)
    assert [(report.done, report.total, report.message) for report in seen] == [
        (0, 6, ""),
        (0, 6, "knn"),
        (3, 6, "svm"),
        (6, 6, "svm"),
    ]
    assert {(report.stage, report.unit) for report in seen} == {("compare", "folds")}


def test_units_that_are_skipped_count_as_done_at_the_end() -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("compare", 6):
        pass
    check_progress(seen)
    assert [report.done for report in seen] == [0, 6]


@pytest.mark.parametrize("n_done", [0, 5])
def test_the_total_may_be_known_at_the_end_only(n_done: int) -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("plan", None) as advance:
        advance(n_done)
    check_progress(seen)
    assert (seen[0].total, seen[-1].done, seen[-1].total) == (None, n_done, n_done)


def test_a_stage_without_units_reports_once() -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("extract", 0):
        pass
    assert [(report.done, report.total) for report in seen] == [(0, 0)]


def test_a_stage_of_the_same_name_continues_the_open_one() -> None:
    """Batches of images are one stage of the whole."""
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("predict", 4):
        for _ in range(2):
            with reporting(), stage("predict", 2) as advance:
                advance(2)
    check_progress(seen)
    assert {report.total for report in seen} == {4}


def test_stages_may_be_nested_and_described_together() -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), describing("first"), stage("extract", 1) as outer:
        with stage("convert", 2, "steps", "resnet50") as inner:
            inner.begin_step("loading")
            inner.begin_step("loading")
        outer(1)
    check_progress(seen)
    steps = [(report.done, report.message) for report in seen if report.stage == "convert"]
    loading = "first, resnet50, loading"
    assert steps == [(0, "first, resnet50"), (0, loading), (1, loading), (2, loading)]


def test_many_small_steps_are_reported_ten_times_a_second() -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append), stage("check", 100_000) as advance:
        for _ in counted(range(100_000), advance):
            pass
    check_progress(seen)
    assert len(seen) <= 3 + 10 * seen[-1].seconds


@pytest.mark.parametrize("error", [ValueError("full"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_of_the_function_reaches_the_caller(error: BaseException, at: int) -> None:
    """Handlers of errors in between do not see it, and it is not called again."""
    seen: list[Progress] = []

    def fail(report: Progress) -> None:
        seen.append(report)
        if len(seen) == at + 1:
            raise error

    def work() -> None:
        with stage("extract", 2) as advance, contextlib.suppress(Exception):
            advance.describe("knn")

    with pytest.raises(type(error)) as caught, reporting(progress=fail):
        work()
    assert caught.value is error
    assert len(seen) == at + 1


def test_a_function_that_calls_featx_does_not_receive_its_own_calls() -> None:
    seen: list[Progress] = []

    def call_again(report: Progress) -> None:
        seen.append(report)
        with reporting(), stage("extract", 1):
            pass

    with reporting(progress=call_again), stage("extract", 1):
        pass
    assert len(seen) == 2


def test_threads_do_not_report() -> None:
    """The function of the user is called in the thread of the call."""
    seen: list[Progress] = []

    def work() -> None:
        with stage("other", 1):
            pass

    with reporting(progress=seen.append), stage("extract", 1):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert {report.stage for report in seen} == {"extract"}


def test_an_inner_call_may_be_silent_or_report_elsewhere() -> None:
    outer: list[Progress] = []
    inner: list[Progress] = []
    with reporting(progress=outer.append):
        with reporting(verbose=False), stage("silent", 1):
            pass
        with reporting(progress=inner.append), stage("inner", 1):
            pass
        with reporting(), stage("outer", 1):
            pass
    assert [{report.stage for report in seen} for seen in (outer, inner)] == [{"outer"}, {"inner"}]


@pytest.mark.parametrize("options", [{"progress": 5}, {"progress": "bar"}, {"verbose": "yes"}, {"verbose": 0.5}])
def test_wrong_options_are_reported(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(options))} must be "), reporting(**options):  # type: ignore[arg-type]
        pass


def test_progress_prints_and_pickles() -> None:
    progress = Progress("extract", 1500, 20_000, "images", 2.04, "mobilenet")
    assert str(progress) == "extract mobilenet: 1,500 of 20,000 images, 2.0 s"
    assert str(Progress("plan", 7, None, "images", 0.0)) == "plan: 7 images, 0.0 s"
    assert pickle.loads(pickle.dumps(progress)) == progress
    with pytest.raises(AttributeError):
        progress.done = 2  # type: ignore[misc]


def test_bars_are_lines_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(verbose=True), stage("extract", 100, message="mobilenet") as advance:
        advance(100)
    err = capsys.readouterr().err
    assert err.startswith("extract mobilenet: 100%")
    assert "100/100" in err
    assert "\r" not in err
    assert err.count("\n") == 1


def test_by_default_nothing_is_shown_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({}, {"verbose": False}):
        with reporting(**options), stage("extract", 100) as advance:
            advance(100)
    assert capsys.readouterr() == ("", "")


def test_by_default_short_stages_show_no_bar_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.system.terminal.progress.is_interactive", lambda: True)
    with reporting(), stage("extract", 100) as advance:
        advance(100)
    assert capsys.readouterr().err == ""


def test_bars_are_closed_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), reporting(verbose=True), stage("extract", 100) as advance:
        advance.describe("mobilenet")
        raise ZeroDivisionError
    with reporting(verbose=True), stage("extract", 10) as advance:
        advance(10)
    assert "10/10" in capsys.readouterr().err


def test_an_announcement_is_one_line_unless_silenced(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("featx"), "handlers", [])  # the command line adds one
    caplog.set_level(logging.INFO, logger="featx")
    announce("Converting, once.")
    with reporting():
        announce("Converting, once.")
    assert capsys.readouterr().err == 2 * "Converting, once.\n"
    assert not caplog.messages
    with reporting(verbose=False):
        announce("Converting, once.")
    assert capsys.readouterr().err == ""
    assert caplog.messages == ["Converting, once."]


def test_an_announcement_has_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    announce("Downloading https://me:4f9c2d1e@example.org/a, once.")
    assert capsys.readouterr().err == "Downloading https://…@example.org/a, once.\n"


def _announce() -> None:
    announce("Converting, once.")


def test_workers_log_announcements(capfd: pytest.CaptureFixture[str]) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_announce)
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert "Converting" not in capfd.readouterr().err


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with reporting(verbose=True), stage("extract", 2) as advance:
        advance(2)
        announce("Converting, once.")
