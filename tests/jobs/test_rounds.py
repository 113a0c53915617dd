"""What runs next, and when a run stops: pure functions."""

from __future__ import annotations

import dataclasses

import pytest

from featx.errors import EngineError, JobError, OutputError, SourceError, UnreadableImageError
from featx.jobs.running.rounds import (
    Limits,
    Round,
    RoundResult,
    ShardFailure,
    Snapshot,
    Stop,
    next_round,
    stop_within_round,
)
from featx.jobs.running.shard import UnreachableSourceError
from featx.jobs.running.worker import classify

LIMITS = Limits()
RAISED = ShardFailure(1, "it raised", has_died=False)
DIED = ShardFailure(1, "its worker died", has_died=True)
IDLE, PROGRESS = RoundResult(has_progress=False), RoundResult(has_progress=True)
LOST = RoundResult(has_progress=False, worker_lost="SIGKILL")
BROKEN = RoundResult(has_progress=False, disconnected="its scheduler is gone")


def snapshot(*pending: int, **fields: object) -> Snapshot:
    return dataclasses.replace(Snapshot("job", "sequential", pending), **fields)  # type: ignore[arg-type]


def shards_of(step: Round | Stop) -> tuple[int, ...]:
    assert isinstance(step, Round)
    return step.shards


def test_nothing_left() -> None:
    assert next_round(snapshot(), LIMITS) == Stop(None)


def test_fresh_shards_run_first_in_order() -> None:
    assert shards_of(next_round(snapshot(3, 1, 2, failures={1: RAISED, 2: DIED}), LIMITS)) == (3,)
    assert shards_of(next_round(snapshot(3, 2, 1), LIMITS)) == (3, 2, 1)


def test_failed_shards_run_before_deadly_ones() -> None:
    assert shards_of(next_round(snapshot(0, 1, 2, failures={0: DIED, 1: RAISED, 2: RAISED}), LIMITS)) == (1, 2)


def test_deadly_shards_run_alone() -> None:
    assert shards_of(next_round(snapshot(4, 5, failures={4: DIED, 5: DIED}), LIMITS)) == (4,)


def test_unreachable_shards_are_probed_at_the_end() -> None:
    unreachable = {0: "None of its images is reachable."}
    assert shards_of(next_round(snapshot(0, 1, unreachable=unreachable), LIMITS)) == (1,)
    step = next_round(snapshot(0, unreachable=unreachable, n_with_rows=3), LIMITS)
    assert step == Round((0,), probe=True)


def test_many_unreachable_shards_stop_the_run() -> None:
    step = next_round(snapshot(0, unreachable={0: "None is reachable."}, n_with_rows=2), LIMITS)
    assert isinstance(step, Stop)
    assert isinstance(step.error, SourceError)
    assert str(step.error) == "None is reachable. The same holds for 1 shard."


def test_suspects_are_not_fresh() -> None:
    step = next_round(snapshot(0, suspects=frozenset({0})), LIMITS)
    assert step == Round((0,), has_fresh=False)


@pytest.mark.parametrize(
    ("result", "limit", "message"),
    [
        (IDLE, LIMITS.max_idle, "neither done nor failed after 5 rounds"),
        (LOST, LIMITS.max_false_starts, r"Workers die before they begin a shard \(SIGKILL\)"),
        (BROKEN, LIMITS.max_disconnects, "broke 20 times without a shard done"),
    ],
)
def test_rounds_in_vain_stop_the_run(result: RoundResult, limit: int, message: str) -> None:
    assert isinstance(next_round(snapshot(0, history=(PROGRESS, *[result] * (limit - 1))), LIMITS), Round)
    assert isinstance(next_round(snapshot(0, history=(*[result] * limit, PROGRESS)), LIMITS), Round)
    step = next_round(snapshot(0, history=(PROGRESS, *[result] * limit)), LIMITS)
    assert isinstance(step, Stop)
    assert isinstance(step.error, JobError)
    with pytest.raises(JobError, match=message):
        raise step.error


def test_pauses() -> None:
    steps = [next_round(snapshot(0, history=history), LIMITS) for history in ((), (IDLE, IDLE), (BROKEN,))]
    pauses = [(step.pause_seconds, step.connect_seconds) for step in steps if isinstance(step, Round)]
    assert pauses == [(0.0, 0.0), (2.0, 0.0), (1.0, 60.0)]


def test_first_failures_stop_the_round() -> None:
    failures = dict.fromkeys(range(5), RAISED)
    assert stop_within_round(Round((9,)), dict.fromkeys(range(4), RAISED), {}, 0) is None
    assert stop_within_round(Round((9,)), failures, {}, 1) is None
    assert stop_within_round(Round((9,)), dict.fromkeys(range(5), DIED), {}, 0) is None
    assert stop_within_round(Round((9,), has_fresh=False), failures, {}, 0) is None
    error = stop_within_round(Round((9,)), failures, {}, 0)
    assert "All of the first 5 shards of this run failed, the last with: it raised." in str(error)


def test_first_unreachable_shards_stop_the_round() -> None:
    unreachable = dict.fromkeys(range(3), "None is reachable.")
    assert stop_within_round(Round((9,)), {}, {0: "None is reachable."}, 0) is None
    assert stop_within_round(Round((9,)), {}, unreachable, 1) is None
    assert isinstance(stop_within_round(Round((9,)), {}, unreachable, 0), SourceError)
    assert isinstance(stop_within_round(Round((9,), probe=True), {}, {0: "None is reachable."}, 7), SourceError)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnreachableSourceError("away"), "unreachable"),
        (EngineError("the backbone failed"), "failed"),
        (RuntimeError("no such device"), "failed"),
        (MemoryError(), "failed"),
        (OSError(28, "No space left on device"), "stop"),
        (OutputError("Cannot write"), "stop"),
        (UnreadableImageError("corrupt"), "stop"),
        (JobError("the plan is corrupt"), "stop"),
    ],
)
def test_classify(error: Exception, status: str) -> None:
    assert classify(error) == status
