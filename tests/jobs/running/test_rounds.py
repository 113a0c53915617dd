"""What runs next, and when a run stops: pure functions."""

from __future__ import annotations

from typing import Any

import pytest

from featx.errors import EngineError, JobError, OutputError, SourceError, UnreadableImageError
from featx.jobs.running.rounds import (
    Limits,
    Round,
    RunState,
    ShardFailure,
    next_round,
    stop_before_round,
    stop_within_round,
)
from featx.jobs.running.shard import UnreachableSourceError
from featx.jobs.running.worker import classify

LIMITS = Limits()
RAISED = ShardFailure(1, "it raised")
DIED = ShardFailure(1, "its worker died", has_died=True)


def shards_of(*pending: int, **state: Any) -> tuple[int, ...]:
    return next_round(pending, RunState(**state)).shards


def test_fresh_shards_run_first_in_order() -> None:
    assert shards_of(3, 1, 2, failures={1: RAISED, 2: DIED}) == (3,)
    assert shards_of(3, 2, 1) == (3, 2, 1)


def test_failed_shards_run_before_deadly_ones() -> None:
    assert shards_of(0, 1, 2, failures={0: DIED, 1: RAISED, 2: RAISED}) == (1, 2)


def test_deadly_shards_run_alone() -> None:
    assert shards_of(4, 5, failures={4: DIED, 5: DIED}) == (4,)


def test_unreachable_shards_stop_the_run_at_the_end() -> None:
    state = RunState(unreachable={0: "None of its images is reachable."})
    assert next_round([0, 1], state).shards == (1,)
    error = stop_before_round(next_round([0], state), state, LIMITS)
    assert isinstance(error, SourceError)
    assert str(error) == "None of its images is reachable. The same holds for 1 shard."


def test_suspects_are_not_fresh() -> None:
    assert next_round([0], RunState(suspects={0})) == Round((0,), has_fresh=False)


@pytest.mark.parametrize("problem", ["", "the connection to the cluster broke (gone). Read the log of its scheduler"])
def test_rounds_in_vain_stop_the_run(problem: str) -> None:
    state = RunState(n_vain=LIMITS.max_vain - 1, problem=problem)
    assert stop_before_round(Round((0,)), state, LIMITS) is None
    state.n_vain += 1
    with pytest.raises(JobError, match=r"in 5 attempts in a row: .*\. (Read|Check).*, then run the same command again"):
        raise stop_before_round(Round((0,)), state, LIMITS) or AssertionError


def test_first_failures_stop_the_round() -> None:
    def stop(current: Round = Round((9,)), **state: Any) -> object:  # noqa: B008
        return stop_within_round(current, RunState(**state))

    failures = dict.fromkeys(range(5), RAISED)
    assert stop(failures=dict.fromkeys(range(4), RAISED)) is None
    assert stop(failures=failures, n_done=1) is None
    assert stop(failures=dict.fromkeys(range(5), DIED)) is None
    assert stop(Round((9,), has_fresh=False), failures=failures) is None
    assert "All of the first 5 shards of this run failed, the last with: it raised." in str(stop(failures=failures))


def test_first_unreachable_shards_stop_the_round() -> None:
    unreachable = dict.fromkeys(range(3), "None is reachable.")
    one = RunState(unreachable={0: "None is reachable."}, n_done=7)
    assert stop_within_round(Round((9,)), one) is None
    assert stop_within_round(Round((9,)), RunState(unreachable=unreachable, n_done=1)) is None
    assert isinstance(stop_within_round(Round((9,)), RunState(unreachable=unreachable)), SourceError)


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
