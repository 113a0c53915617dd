"""Which shards run next, and when a run stops: functions of what is known about the job, without side effects.

A run proceeds in rounds. No engine covers what is decided here: a fault of one shard (retry it, then quarantine it)
is distinguished from a fault of the machine, the network or the disk (stop, and blame no shard).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from featx.errors import FeatxError, JobError, SourceError
from featx.system.formatting import format_count

#: A shard is quarantined after this number of failures.
MAX_FAILURES = 3
#: A run stops if this number of shards fail, or are unreachable, before any shard is done.
MAX_FIRST_FAILED, MAX_FIRST_UNREACHABLE = 5, 3


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a run."""

    max_vain: int = 5  # consecutive rounds without progress of any kind
    pause_seconds: float = 1.0  # after each of them, and longer after several
    reconnect_seconds: float = 60.0  # for a cluster to come back


@dataclasses.dataclass(frozen=True)
class ShardFailure:
    """Failures of a shard in this run."""

    count: int
    reason: str  # of the last one
    has_died: bool = False  # whether its worker died


@dataclasses.dataclass
class RunState:
    """State of the shards of a run, and of its last rounds."""

    suspects: set[int] = dataclasses.field(default_factory=set)  # shards that may have ended a worker in an earlier run
    failures: dict[int, ShardFailure] = dataclasses.field(default_factory=dict)  # in this run
    unreachable: dict[int, str] = dataclasses.field(default_factory=dict)  # shards without a reachable image: reason
    n_done: int = 0  # shards in this run
    n_vain: int = 0  # consecutive rounds without progress
    problem: str = ""  # of the last round: why it made no progress, and what to do


@dataclasses.dataclass(frozen=True)
class Round:
    """Shards to run, in order."""

    shards: tuple[int, ...]
    has_fresh: bool = True  # whether some of them have never failed


def next_round(pending: Sequence[int], state: RunState) -> Round:
    """Return the shards to run next, in the order of `pending`; none if no image of them is reachable."""
    reachable = tuple(shard for shard in pending if shard not in state.unreachable)
    fresh = tuple(shard for shard in reachable if shard not in state.failures)
    failed = tuple(shard for shard in reachable if shard in state.failures and not state.failures[shard].has_died)
    # A shard that ended its worker runs alone: if it exhausts the memory, no other worker of the machine is killed.
    shards = fresh or failed or reachable[:1]
    has_fresh = any(shard not in state.failures and shard not in state.suspects for shard in shards)
    return Round(shards, has_fresh)


def stop_before_round(current: Round, state: RunState, limits: Limits) -> FeatxError | None:
    """Return the error that ends a run between two rounds."""
    if not current.shards:  # whether its disk is away or its images are gone, only the user knows
        reason = state.unreachable[min(state.unreachable)]
        return SourceError(f"{reason} The same holds for {format_count(len(state.unreachable), 'shard')}.")
    if state.n_vain < limits.max_vain:
        return None
    problem = state.problem or (
        f"{format_count(len(current.shards), 'shard')} left, the first is {min(current.shards)}. Check that the "
        "storage lists new files at once"
    )
    return JobError(
        f"No shard was done or failed in {state.n_vain} attempts in a row: {problem}, then run the same command again: "
        "completed work is kept."
    )


def stop_within_round(current: Round, state: RunState) -> FeatxError | None:
    """Return the error that ends a run in the middle of a round: all shards so far failed, or are unreachable."""
    if len(state.unreachable) >= MAX_FIRST_UNREACHABLE and not state.n_done:
        return SourceError(list(state.unreachable.values())[-1])
    reasons = [failure.reason for failure in state.failures.values() if not failure.has_died]
    if len(reasons) >= MAX_FIRST_FAILED and not state.n_done and current.has_fresh:
        return JobError(
            f"All of the first {len(reasons)} shards of this run failed, the last with: {reasons[-1].rstrip('.')}. "
            "Check the machine and the backbone, then run the same command again: no shard is quarantined."
        )
    return None
