"""The client of a job: it submits shards in rounds and records what becomes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable

from featx.errors import FeatxError
from featx.features.job_files import FOLDERS, CommittedShard, table_name
from featx.jobs.job import Job
from featx.jobs.running import rounds
from featx.jobs.running.executors import ClusterLostError, TaskExecutor, WorkerLostError, run_tasks
from featx.jobs.running.heartbeats import Heartbeat, read_heartbeats, running_clients
from featx.jobs.running.rounds import MAX_FAILURES, Limits, Round, RunState, ShardFailure
from featx.jobs.running.worker import Outcome, Task, work

#: Opens an executor, given the seconds to wait for a cluster that does not answer.
OpenExecutor = Callable[[float], contextlib.AbstractContextManager[TaskExecutor]]

_log = logging.getLogger("featx")


class Coordinator:
    """One run of a job.

    `task` is what all tasks have in common; its `client` is the token of this run. `recompute` are committed shards to
    compute again. `on_wait` is called now and then while tasks run.
    """

    def __init__(
        self,
        job: Job,
        task: Task,
        open_executor: OpenExecutor,
        *,
        recompute: set[int] | None = None,
        limits: Limits | None = None,
        on_wait: Callable[[], object] | None = None,
    ) -> None:
        self._job, self._task, self._open_executor = job, task, open_executor
        self._recompute = set(recompute or ())
        self._limits = limits or Limits()
        self._on_wait = on_wait
        self._n_rounds = 0
        self.state = RunState(suspects=set(job.marked("suspects")))

    def run(self) -> None:
        """Run all shards that are missing. A FeatxError means that the run cannot go on."""
        try:
            while pending := self.pending():
                self._run_round(rounds.next_round(pending, self.state))
                self._quarantine()
        except FeatxError:
            with contextlib.suppress(OSError):  # the first error matters more
                self._mark_suspects()
            raise
        self._job.unmark("suspects", self._job.marked("suspects"))

    def pending(self) -> list[int]:
        """Return the shards to do: last come suspects, and those of other workers."""
        names = self._job.folder.names("shards")
        quarantined = set(self._job.marked("quarantine"))
        left = [
            shard
            for shard in range(self._job.manifest.n_shards)
            if shard in self._recompute
            or (os.path.basename(table_name(shard)) not in names and shard not in quarantined)
        ]
        suspects = {*self.state.suspects, *self.state.failures}
        # Workers of an earlier round may go on after the connection to a cluster broke.
        in_progress = {beat.shard for beat in read_heartbeats(self._job.folder) if beat.is_alive}
        return sorted(left, key=lambda shard: (shard in suspects, shard in in_progress))

    def _run_round(self, current: Round) -> None:
        state, limits, before = self.state, self._limits, self._progress()
        if error := rounds.stop_before_round(current, state, limits):
            raise error
        time.sleep(limits.pause_seconds * state.n_vain)
        state.problem = ""
        template = dataclasses.replace(self._task, round=self._n_rounds)
        suspects = {*state.failures, *state.suspects}
        tasks = (
            dataclasses.replace(template, shard=shard, recompute=shard in self._recompute, is_suspect=shard in suspects)
            for shard in current.shards
        )
        try:
            with self._open_executor(limits.reconnect_seconds if self._n_rounds else 0.0) as executor:
                for task, outcome in run_tasks(executor, work, tasks, on_wait=self._on_wait):
                    self.record(task, outcome)
                    if error := rounds.stop_within_round(current, state):
                        raise error
        except ClusterLostError as lost:
            state.problem = f"the connection to the cluster broke ({lost}). Read the log of its scheduler"
            message = "The connection to the cluster broke: %s. Waiting up to %.0f s for it; completed work is kept."
            _log.warning(message, lost, limits.reconnect_seconds)
        self._n_rounds += 1
        state.n_vain = state.n_vain + 1 if self._progress() == before else 0

    def _progress(self) -> object:
        """Return a value that changes if a shard is done, failed or unreachable."""
        counts = {shard: failure.count for shard, failure in self.state.failures.items()}
        return sorted(self.pending()), counts, set(self.state.unreachable)

    def record(self, task: Task, outcome: Outcome | BaseException) -> None:
        """Record the outcome of a task, or raise its error if the run cannot go on."""
        shard, state = task.shard, self.state
        if isinstance(outcome, WorkerLostError):
            self._record_death(shard, outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        elif outcome.status == "failed":
            self._record_failure(shard, 1, outcome.reason)
        elif outcome.status == "unreachable":
            state.unreachable[shard] = outcome.reason
        else:
            state.n_done += outcome.status == "done"
            self._recompute.discard(shard)
            state.failures.pop(shard, None)

    def _record_death(self, shard: int, error: WorkerLostError) -> None:
        """Count the workers that died of a shard: each has left a heartbeat.

        An engine may blame a shard that a worker had received and not begun. Heartbeats of earlier rounds do not count:
        their workers may have ended with the connection to the cluster.
        """
        run = (self._task.client, self._n_rounds)
        beats = [beat for beat in read_heartbeats(self._job.folder, shard) if (beat.client, beat.round) == run]
        if beats:
            last = max(beats, key=lambda beat: beat.time)
            self._record_failure(shard, len(beats), f"its worker died {self._position(last)}: {error}", has_died=True)
        else:
            self.state.problem = (
                f"a worker died before it began a shard ({error}). Free memory or use fewer workers with n_jobs "
                "(--n-jobs), read the log of the workers"
            )
        for beat in beats:
            self._job.folder.remove(beat.name)

    def _position(self, beat: Heartbeat) -> str:
        """Return the image at which a worker was at its last heartbeat."""
        paths = self._job.planned(beat.shard).paths
        index = min(beat.n_done, len(paths) - 1)
        return f"around image {beat.shard * self._job.manifest.shard_size + index:,} of the plan ({paths[index]!r})"

    def _record_failure(self, shard: int, count: int, reason: str, *, has_died: bool = False) -> None:
        before = self.state.failures.get(shard)
        self.state.failures[shard] = ShardFailure(count + (before.count if before else 0), reason, has_died)

    def _quarantine(self) -> None:
        for shard, failure in list(self.state.failures.items()):
            if failure.count < MAX_FAILURES:
                continue
            reason = f"{failure.count} failures; {failure.reason}"
            if shard in self._recompute:
                self._recompute.discard(shard)
                _log.warning("Shard %d is kept as it was: %s", shard, reason)
            else:
                self._job.mark("quarantine", shard, reason)
            del self.state.failures[shard]

    def _mark_suspects(self) -> None:
        """Let the next run begin with other shards."""
        reasons = {shard: failure.reason for shard, failure in self.state.failures.items()}
        for shard, reason in {**reasons, **self.state.unreachable}.items():
            self._job.mark("suspects", shard, reason)


def recover(job: Job, *, verify: bool, retry_quarantined: bool) -> tuple[dict[int, CommittedShard], dict[int, str]]:
    """Clean up before a run: remove the traces of dead workers, and the corrupt shards, which are computed again.

    Return the shards that are done, and the reasons of those that were corrupt. For `verify` and `retry_quarantined`
    see :func:`featx.run_job`.
    """
    folder = job.folder
    folder.make_folders(*FOLDERS)
    folder.remove_abandoned("", *FOLDERS)
    # A client that is alive counts the deaths of its own workers. If it died too, nobody knows the cause.
    living = {client.token for client in running_clients(folder)}
    for beat in read_heartbeats(folder):
        if not beat.is_alive and beat.client not in living:
            job.mark("suspects", beat.shard, "its worker and its client died")
            folder.remove(beat.name)
    done, suspected = job.committed()
    suspected |= dict.fromkeys(done, "") if verify else {}
    corrupt = {shard: reason for shard in suspected if (reason := job.remove_corrupt(shard, verify=verify))}
    done = {shard: committed for shard, committed in done.items() if shard not in corrupt}
    quarantined = job.marked("quarantine")
    job.unmark("quarantine", quarantined if retry_quarantined else set(quarantined) & set(done))
    return done, {shard: reason for shard, reason in corrupt.items() if shard < job.manifest.n_shards}
