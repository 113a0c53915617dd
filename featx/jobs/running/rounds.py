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
    """Limits of a run.

    Attributes
    ----------
    max_idle, max_false_starts, max_disconnects : int
        Number of consecutive rounds without progress in which nothing happens, in which workers die before they begin
        a shard, and in which the connection to the cluster breaks.
    pause_seconds : float
        Pause after such a round.
    reconnect_seconds : float
        Time for a cluster to come back.
    """

    max_idle: int = 5
    max_false_starts: int = 3
    max_disconnects: int = 20
    pause_seconds: float = 1.0
    reconnect_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class ShardFailure:
    """Failures of a shard in this run.

    Attributes
    ----------
    count : int
        Number of failures.
    reason : str
        Reason of the last failure.
    has_died : bool
        Whether the worker died.
    """

    count: int
    reason: str
    has_died: bool


@dataclasses.dataclass(frozen=True)
class RoundResult:
    """Result of a round.

    Attributes
    ----------
    has_progress : bool
        Whether a shard was done, failed or unreachable for the first time since the round before.
    worker_lost : str
        Reason why a worker died before it began a shard; "" if none did.
    disconnected : str
        Reason why the connection to the cluster broke; "" if it did not.
    """

    has_progress: bool
    worker_lost: str = ""
    disconnected: str = ""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """State of a run between two rounds.

    Attributes
    ----------
    location, backend : str
        Job and backend, for messages.
    pending : tuple of int
        Shards to do, in the order in which they run.
    suspects : frozenset of int
        Shards that may have ended a worker in an earlier run.
    failures : mapping of int to ShardFailure
        Failures in this run.
    unreachable : mapping of int to str
        Shards of which no image is reachable, and the reason.
    n_done : int
        Number of shards done in this run.
    n_with_rows : int
        Number of other shards with rows; needed only if all pending shards are unreachable.
    history : tuple of RoundResult
        Rounds so far.
    """

    location: str
    backend: str
    pending: tuple[int, ...]
    suspects: frozenset[int] = frozenset()
    failures: Mapping[int, ShardFailure] = dataclasses.field(default_factory=dict)
    unreachable: Mapping[int, str] = dataclasses.field(default_factory=dict)
    n_done: int = 0
    n_with_rows: int = 0
    history: tuple[RoundResult, ...] = ()


@dataclasses.dataclass(frozen=True)
class Round:
    """Shards to run, in order.

    Attributes
    ----------
    shards : tuple of int
        Indices of the shards.
    probe : bool
        Whether no image of these shards is reachable, so that images of other shards are tried too.
    has_fresh : bool
        Whether some of the shards have never failed.
    pause_seconds : float
        Pause before the round.
    connect_seconds : float
        Time for a cluster to appear.
    """

    shards: tuple[int, ...]
    probe: bool = False
    has_fresh: bool = True
    pause_seconds: float = 0.0
    connect_seconds: float = 0.0


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
