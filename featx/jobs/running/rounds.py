"""Which shards run next, and when a run stops: pure functions of what is known about the job.

A run proceeds in rounds. No engine covers what is decided here: a fault of one shard (retry it, then quarantine it)
is distinguished from a fault of the machine, the network or the disk (stop, and blame no shard).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import FeatxError, JobError, SourceError
from featx.system.formatting import format_count

#: A shard is quarantined after this number of failures.
MAX_FAILURES = 3
#: A run stops if this number of shards fail, or are unreachable, before any shard is done.
MAX_FIRST_FAILED, MAX_FIRST_UNREACHABLE = 5, 3
#: Shards are declared missing, rather than their disk or server away, if this number of times as many others are done;
#: the same number of images of the others must be reachable.
PROBE_FACTOR = 3


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a run: numbers of consecutive rounds without progress, and times."""

    max_idle: int = 5  # rounds in which nothing happens
    max_false_starts: int = 3  # rounds in which workers die before they begin a shard
    max_disconnects: int = 20  # rounds in which the connection to the cluster breaks
    pause_seconds: float = 1.0  # after such a round
    reconnect_seconds: float = 60.0  # for a cluster to come back


@dataclasses.dataclass(frozen=True)
class ShardFailure:
    """Failures of a shard in this run."""

    count: int
    reason: str  # of the last one
    has_died: bool  # whether its worker died


@dataclasses.dataclass(frozen=True)
class RoundResult:
    """Result of a round."""

    has_progress: bool  # whether a shard was done, failed or unreachable for the first time
    worker_lost: str = ""  # why a worker died before it began a shard
    disconnected: str = ""  # why the connection to the cluster broke


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """State of a run between two rounds."""

    location: str  # of the job, for messages
    backend: str
    pending: tuple[int, ...]  # shards to do, in the order in which they run
    suspects: frozenset[int] = frozenset()  # shards that may have ended a worker in an earlier run
    failures: Mapping[int, ShardFailure] = dataclasses.field(default_factory=dict)  # in this run
    unreachable: Mapping[int, str] = dataclasses.field(default_factory=dict)  # shards without a reachable image: reason
    n_done: int = 0  # shards in this run
    n_with_rows: int = 0  # other shards with rows; needed only if all pending shards are unreachable
    history: tuple[RoundResult, ...] = ()


@dataclasses.dataclass(frozen=True)
class Round:
    """Shards to run, in order."""

    shards: tuple[int, ...]
    probe: bool = False  # whether no image of them was reachable, so that images of other shards are tried too
    has_fresh: bool = True  # whether some of them have never failed
    pause_seconds: float = 0.0  # before the round
    connect_seconds: float = 0.0  # for a cluster to appear


@dataclasses.dataclass(frozen=True)
class Stop:
    """The end of a run: an error, or None if nothing is left to do."""

    error: FeatxError | None = None


def next_round(snapshot: Snapshot, limits: Limits) -> Round | Stop:
    """Return what to do next."""
    if not snapshot.pending:
        return Stop()
    if error := _problem_of_rounds(snapshot, limits):
        return Stop(error)
    last = snapshot.history[-1] if snapshot.history else RoundResult(has_progress=True)
    shards, probe = _choose(snapshot)
    if probe and snapshot.n_with_rows < PROBE_FACTOR * len(shards):
        reason = snapshot.unreachable[min(shards)]
        return Stop(SourceError(f"{reason} The same holds for {format_count(len(shards), 'shard')}."))
    return Round(
        shards,
        probe=probe,
        has_fresh=any(shard not in snapshot.failures and shard not in snapshot.suspects for shard in shards),
        pause_seconds=limits.pause_seconds * (1 if last.disconnected else _count_idle(snapshot)),
        connect_seconds=limits.reconnect_seconds if any(result.disconnected for result in snapshot.history) else 0.0,
    )


def _choose(snapshot: Snapshot) -> tuple[tuple[int, ...], bool]:
    """Return the shards of the next round, and whether all of them are unreachable."""
    reachable = tuple(shard for shard in snapshot.pending if shard not in snapshot.unreachable)
    if not reachable:
        return snapshot.pending, True
    failures = snapshot.failures
    fresh = tuple(shard for shard in reachable if shard not in failures)
    failed = tuple(shard for shard in reachable if shard in failures and not failures[shard].has_died)
    # A shard that ended its worker runs alone: if it exhausts the memory, no other worker of the machine is killed.
    return fresh or failed or reachable[:1], False


def stop_within_round(
    current: Round, failures: Mapping[int, ShardFailure], unreachable: Mapping[int, str], n_done: int
) -> FeatxError | None:
    """Return the error that ends a run in the middle of a round: all shards so far failed, or are unreachable."""
    are_first = len(unreachable) >= MAX_FIRST_UNREACHABLE and not n_done
    if are_first or (unreachable and current.probe):
        return SourceError(list(unreachable.values())[-1])
    reasons = [failure.reason for failure in failures.values() if not failure.has_died]
    if current.has_fresh and len(reasons) >= MAX_FIRST_FAILED and not n_done:
        return JobError(
            f"All of the first {len(reasons)} shards of this run failed, the last with: {reasons[-1].rstrip('.')}. "
            "Check the machine and the backbone, then run the same command again: no shard is quarantined."
        )
    return None


def _problem_of_rounds(snapshot: Snapshot, limits: Limits) -> FeatxError | None:
    """Return the error if the last rounds made no progress."""
    n_disconnects = _count_last(snapshot, lambda result: bool(result.disconnected) and not result.has_progress)
    if n_disconnects >= limits.max_disconnects:
        return JobError(
            f"The connection to the cluster ({snapshot.backend}) broke {n_disconnects} times without a shard done in "
            f"between ({snapshot.history[-1].disconnected}). Read the log of its scheduler, then run the same command "
            "again: completed work is kept."
        )
    n_false_starts = _count_last(snapshot, lambda result: bool(result.worker_lost) and not result.has_progress)
    if n_false_starts >= limits.max_false_starts:
        is_cluster = snapshot.backend in ("dask", "ray")
        hint = "Read their logs." if is_cluster else "Is there too little memory? Try --n-jobs 1 (n_jobs=1)."
        return JobError(
            f"Workers die before they begin a shard ({snapshot.history[-1].worker_lost}). {hint} Completed work is "
            "kept."
        )
    n_idle = _count_idle(snapshot)
    if n_idle >= limits.max_idle:
        return JobError(
            f"{format_count(len(snapshot.pending), 'shard')}, the first {min(snapshot.pending)}, are neither done nor "
            f"failed after {n_idle} rounds. Does {snapshot.location!r} list new files late? Run the same command "
            "again: completed work is kept."
        )
    return None


def _count_idle(snapshot: Snapshot) -> int:
    return _count_last(snapshot, lambda result: not (result.has_progress or result.disconnected or result.worker_lost))


def _count_last(snapshot: Snapshot, matches: Callable[[RoundResult], Any]) -> int:
    """Return the number of rounds at the end of the history that match."""
    count = 0
    for result in reversed(snapshot.history):
        if not matches(result):
            break
        count += 1
    return count
