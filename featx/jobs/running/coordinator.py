"""The client of a job: it submits shards in rounds and records their outcomes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from featx.errors import FeatxError
from featx.features.job_files import CommittedShard, table_name
from featx.features.job_tables import column_texts
from featx.jobs.job import Job
from featx.jobs.running.executors import (
    ClusterLostError,
    InlineExecutor,
    LocalExecutor,
    TaskExecutor,
    WorkerLostError,
    run_tasks,
)
from featx.jobs.running.heartbeats import Heartbeat, read_heartbeats
from featx.jobs.running.rounds import (
    MAX_FAILURES,
    PROBE_FACTOR,
    Limits,
    Round,
    RoundResult,
    ShardFailure,
    Snapshot,
    next_round,
    stop_within_round,
)
from featx.jobs.running.worker import Outcome, Task, work

_log = logging.getLogger("featx")


class Coordinator:
    """One run of a job.

    `task` is what all tasks have in common; its `client` is the token of this run. `recompute` are committed shards to
    compute again. `executor` runs the tasks in place of that of the backend. `on_wait` is called now and then while
    tasks run. For the others, see :func:`featx.run_job`.
    """

    def __init__(
        self,
        job: Job,
        task: Task,
        *,
        backend: str = "sequential",
        n_jobs: int = -1,
        scheduler: str | None = None,
        recompute: set[int] | None = None,
        limits: Limits | None = None,
        executor: TaskExecutor | None = None,
        on_wait: Callable[[], object] | None = None,
    ) -> None:
        self._job, self._task = job, task
        self._backend, self._n_jobs, self._scheduler = backend, n_jobs, scheduler
        self._recompute = set(recompute or ())
        self._limits = limits or Limits()
        self._given_executor = executor
        self._on_wait = on_wait
        self._suspects = job.suspects()
        self._failures: dict[int, ShardFailure] = {}
        self._unreachable: dict[int, str] = {}
        self._n_done = 0
        self._history: list[RoundResult] = []

    def run(self) -> None:
        """Run all shards that are missing. A FeatxError means that the run cannot go on."""
        try:
            while isinstance(step := next_round(self.snapshot(), self._limits), Round):
                self._run_round(step)
                self._quarantine()
            if step.error:
                raise step.error
        except FeatxError:
            with contextlib.suppress(OSError):  # the first error matters more
                self._mark_suspects()
            raise
        self._job.clear_suspects()

    def snapshot(self) -> Snapshot:
        """Return what is known now."""
        pending = self._pending()
        n_with_rows = 0
        if pending and all(shard in self._unreachable for shard in pending):
            n_with_rows = len(self._others_with_rows())
        return Snapshot(
            location=self._job.folder.location,
            backend=self._backend,
            pending=tuple(pending),
            suspects=frozenset(self._suspects),
            failures=dict(self._failures),
            unreachable=dict(self._unreachable),
            n_done=self._n_done,
            n_with_rows=n_with_rows,
            history=tuple(self._history),
        )

    def _pending(self) -> list[int]:
        """Return the shards to do: last come suspects, and those that other workers are at."""
        names = self._job.folder.names("shards")
        quarantined = self._job.quarantined()
        left = [
            shard
            for shard in range(self._job.manifest.n_shards)
            if shard in self._recompute
            or (os.path.basename(table_name(shard)) not in names and shard not in quarantined)
        ]
        suspects = {*self._suspects, *self._failures}
        # Workers of an earlier round may go on after the connection to a cluster broke.
        in_progress = {beat.shard for beat in read_heartbeats(self._job.folder) if beat.is_alive}
        return sorted(left, key=lambda shard: (shard in suspects, shard in in_progress))

    def _others_with_rows(self) -> list[CommittedShard]:
        done, _ = self._job.committed()
        return [shard for number, shard in done.items() if shard.rows and number not in self._unreachable]

    def _probe_images(self) -> tuple[str, ...]:
        """Return images that were reachable when other shards were done."""
        others = self._others_with_rows()
        chosen = others[:: max(1, len(others) // PROBE_FACTOR)][:PROBE_FACTOR]
        tables = [self._job.table(shard) for shard in chosen]
        return tuple(column_texts("path", columns)[columns["status"].index("done")] for columns in tables)

    def _run_round(self, current: Round) -> None:
        before = self._progress()
        time.sleep(current.pause_seconds)
        template = dataclasses.replace(self._task, round=len(self._history))
        if current.probe:
            template = dataclasses.replace(template, probe_images=self._probe_images())
            self._unreachable.clear()
        suspects = {*self._failures, *self._suspects}
        tasks = (
            dataclasses.replace(template, shard=shard, recompute=shard in self._recompute, is_suspect=shard in suspects)
            for shard in current.shards
        )
        worker_lost = disconnected = ""
        try:
            with self._executor(current.connect_seconds) as executor:
                for task, future in run_tasks(executor, work, tasks, on_wait=self._on_wait):
                    worker_lost = self.record(task, future) or worker_lost
                    if error := stop_within_round(current, self._failures, self._unreachable, self._n_done):
                        raise error
        except ClusterLostError as error:
            disconnected = str(error)
            message = (
                "The connection to the cluster (%s) broke: %s. Waiting up to %.0f s for it; completed work is kept."
            )
            _log.warning(message, self._backend, error, self._limits.reconnect_seconds)
        self._history.append(RoundResult(self._progress() != before, worker_lost, disconnected))

    def _progress(self) -> object:
        """Return a value that changes if a shard is done, failed or unreachable."""
        counts = {shard: failure.count for shard, failure in self._failures.items()}
        return sorted(self._pending()), counts, set(self._unreachable)

    @contextlib.contextmanager
    def _executor(self, connect_seconds: float) -> Iterator[TaskExecutor]:
        if self._given_executor is not None:
            yield self._given_executor
        elif not self._job.folder.is_shared:
            yield InlineExecutor()
        elif self._backend == "dask":
            from featx.jobs.running.dask import dask_executor

            with dask_executor(self._scheduler, connect_seconds) as executor:
                yield executor
        elif self._backend == "ray":
            from featx.jobs.running.ray import ray_executor

            with ray_executor(self._scheduler, self._n_jobs) as executor:
                yield executor
        else:
            with LocalExecutor(1 if self._backend == "sequential" else self._n_jobs) as executor:
                yield executor

    def record(self, task: Task, future: Future[Outcome]) -> str:
        """Record the outcome of a task; return why its worker died, if that was before it began the shard."""
        try:
            outcome = future.result()
        except WorkerLostError as error:
            return self._record_death(task.shard, error)
        if outcome.status == "failed":
            self._record_failure(task.shard, 1, outcome.reason)
        elif outcome.status == "unreachable":
            self._unreachable[task.shard] = outcome.reason
        else:
            self._n_done += outcome.status == "done"
            self._recompute.discard(task.shard)
            self._failures.pop(task.shard, None)
        return ""

    def _record_death(self, shard: int, error: WorkerLostError) -> str:
        """Count the workers that died of a shard: each has left a heartbeat.

        An engine may blame a shard that a worker had received and not begun. Heartbeats of earlier rounds do not count:
        their workers may have ended with the connection to the cluster.
        """
        beats = [
            beat
            for beat in read_heartbeats(self._job.folder, shard)
            if (beat.client, beat.round) == (self._task.client, len(self._history))
        ]
        for beat in beats:
            self._job.folder.remove(beat.name)
        if not beats:
            return str(error)
        last = max(beats, key=lambda beat: beat.time)
        self._record_failure(shard, len(beats), f"its worker died {self._position(last)}: {error}", has_died=True)
        return ""

    def _position(self, beat: Heartbeat) -> str:
        """Return the image at which a worker was at its last heartbeat."""
        paths = self._job.planned(beat.shard).paths
        index = min(beat.n_done, len(paths) - 1)
        return f"around image {beat.shard * self._job.manifest.shard_size + index:,} of the plan ({paths[index]!r})"

    def _record_failure(self, shard: int, count: int, reason: str, *, has_died: bool = False) -> None:
        count += self._failures[shard].count if shard in self._failures else 0
        self._failures[shard] = ShardFailure(count, reason, has_died)

    def _quarantine(self) -> None:
        for shard, failure in list(self._failures.items()):
            if failure.count < MAX_FAILURES:
                continue
            reason = f"{failure.count} failures; {failure.reason}"
            if shard in self._recompute:
                self._recompute.discard(shard)
                _log.warning("Shard %d is kept as it was: %s", shard, reason)
            else:
                self._job.quarantine(shard, reason)
            del self._failures[shard]

    def _mark_suspects(self) -> None:
        """Let the next run begin with other shards."""
        for shard, failure in self._failures.items():
            self._job.mark_suspect(shard, failure.reason)
        for shard, reason in self._unreachable.items():
            self._job.mark_suspect(shard, reason)
