"""The client of a job: it gives out what is missing, round after round, and counts what ended its workers."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
import uuid
from collections.abc import Sequence

from featx.errors import FeatxError, JobError, SourceError
from featx.features.job_columns import texts_of
from featx.features.job_format import CommittedShard, again_name, table_name
from featx.jobs.backends.engines import CLUSTERS, run_tasks
from featx.jobs.backends.errors import ClusterLostError, WorkerLostError
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running import retries as outcomes
from featx.jobs.running.recovery import clear_up
from featx.jobs.running.worker import Task, around, work
from featx.system.formatting import format_count

#: Workers may die so often without having begun a shard.
_FALSE_STARTS = 3
#: A cluster that went away may come back within so many seconds.
_COME_BACK_SECONDS = 60.0
#: It is given up when the connection has broken so often without a shard done in between.
_LOSSES, _PAUSE_SECONDS = 20, 1.0
#: Rounds that may change nothing, one after the other.
_IDLE_ROUNDS = 5
#: Images that are out of reach are gone for good, and not their disk or server, if so many times as many other shards
#: are done, of which as many images are in reach.
_WITNESSES = 3

_log = logging.getLogger("featx")


class Client:
    """One run of a job.

    Parameters
    ----------
    job : Job
    backend, n_jobs, scheduler
        As of :func:`featx.jobs.running.run.run_job`.

    Attributes
    ----------
    task : Task
        What all tasks have in common; set before :meth:`run`.
    token : str
        Of this client alone.
    done : dict of int to CommittedShard
        Shards that were done before, once :meth:`clear_up` has looked.
    """

    task: Task

    def __init__(self, job: Job, backend: str, n_jobs: int, scheduler: str | None) -> None:
        self.job, self.place = job, job.place
        self._backend, self._n_jobs, self._scheduler = backend, n_jobs, scheduler
        self._patience = 0.0
        self._n_round = 0
        self.token = uuid.uuid4().hex
        self.done: dict[int, CommittedShard] = {}

    @property
    def n_images_done(self) -> int:
        """Images that were done before."""
        return sum(shard.n_images for shard in self.done.values())

    def clear_up(self, *, verify: bool, retry_quarantined: bool, retry_failed: bool) -> dict[int, str]:
        """Take in what is done; let what is damaged be done again, and return it."""
        how = {"verify": verify, "retry_quarantined": retry_quarantined, "retry_failed": retry_failed}
        self.done, damaged = clear_up(self.job, **how)
        return damaged

    def run(self) -> None:
        """Do what is left, round after round."""
        try:
            self._run()
        except FeatxError:
            with contextlib.suppress(OSError):  # what went wrong before matters more
                outcomes.leave_to_the_last(self.place, self.token)
            raise
        attempts.forget_tries(
            self.place, set(range(self.job.manifest.n_shards)) - set(attempts.which_aside(self.place))
        )

    def _run(self) -> None:
        n_false_starts = n_lost = n_idle = 0
        before: object = None
        while pending := self._pending():
            state = frozenset(pending), attempts.tried(self.place), outcomes.marked(self.place, self.token, "away")
            n_idle = n_idle + 1 if state == before else 0
            self._wait_idle(pending, n_idle)
            before = state
            self._n_round += 1
            try:
                self._round(*self._next(pending))
            except ClusterLostError as error:
                n_lost = 1 if self._n_left() < len(pending) else n_lost + 1
                self._begin_again(error, n_lost)
                before = None
            except WorkerLostError as error:
                lost = self._count_lost(error)
                n_false_starts = 0 if lost or self._n_left() < len(pending) else n_false_starts + 1
                if n_false_starts == _FALSE_STARTS:
                    raise self._ending_early(error) from error
                before = None
            self._set_aside()

    def _wait_idle(self, pending: Sequence[int], n_idle: int) -> None:
        """Wait after a round that has changed nothing, longer and longer; not without end."""
        if n_idle == _IDLE_ROUNDS:
            raise JobError(
                f"{format_count(len(pending), 'shard')}, the first {min(pending)}, came {n_idle} times to be "
                f"neither done "
                f"nor failed. Does {self.place.address!r} list what has just been written there? Then run the same "
                "again: what is done is kept."
            )
        time.sleep(_PAUSE_SECONDS * n_idle)

    def _next(self, pending: Sequence[int]) -> tuple[Sequence[int], tuple[str, ...]]:
        """Return the shards of a round, and images that are to be in reach if those of these shards are not."""
        away = outcomes.marked(self.place, self.token, "away")
        near = [shard for shard in pending if shard not in away]
        if not near:
            return pending, self._witnesses(set(pending))
        tries = attempts.reasons(self.place)
        fresh = [shard for shard in near if shard not in tries]
        # One that has ended a worker goes alone, so that no other is blamed; of one that has raised it is known.
        known = [shard for shard in near if shard in tries and not tries[shard][1].startswith(attempts.DIED)]
        return fresh or known or near[:1], ()

    def _witnesses(self, away: set[int]) -> tuple[str, ...]:
        """Return images that were in reach when other shards were done, if these are many."""
        done, _ = self.job.committed()
        others = [shard for number, shard in done.items() if shard.rows and number not in away]
        if len(others) < _WITNESSES * len(away):
            reason = outcomes.reason_of(self.place, self.token, min(away), "away")
            raise SourceError(f"{reason} So it is with {format_count(len(away), 'shard')}.")
        found = []
        for shard in others[:: max(1, len(others) // _WITNESSES)][:_WITNESSES]:
            columns = self.job.lines(shard)
            found.append(texts_of("path", columns)[columns["status"].index("done")])
        return tuple(found)

    def _pending(self) -> list[int]:
        """Return the shards to do: at last those that may have ended worker and client, and those somebody is at."""
        names = self.place.names("shards")
        again = self.place.names("again")
        aside = attempts.which_aside(self.place)
        left = [
            shard
            for shard in range(self.job.manifest.n_shards)
            if (os.path.basename(table_name(shard)) not in names and shard not in aside)
            or os.path.basename(again_name(shard)) in again
        ]
        doubtful = attempts.tried(self.place)
        # Of an earlier round of ours, some may go on, too.
        at_work = {note.shard for note in attempts.at_work(self.place) if note.is_alive}
        return sorted(left, key=lambda shard: (shard in doubtful, shard in at_work))

    def _n_left(self) -> int:
        return len(self._pending())

    def _round(self, shards: Sequence[int], witnesses: tuple[str, ...] = ()) -> None:
        doubtful = attempts.tried(self.place)
        has_others = any(shard not in doubtful for shard in shards)
        task = dataclasses.replace(self.task, n_round=self._n_round, witnesses=witnesses, has_others=has_others)
        run_tasks(
            work,
            (dataclasses.replace(task, shard=shard) for shard in shards),
            backend=self._backend,
            n_jobs=self._n_jobs,
            scheduler=self._scheduler,
            patience=self._patience,
            is_shared=self.place.is_shared,
        )

    def _begin_again(self, error: ClusterLostError, n_lost: int) -> None:
        """Wait for a cluster that went away; its workers may go on with what they are at, and that is no try of it."""
        if n_lost == _LOSSES:
            raise JobError(
                f"The connection to the cluster ({self._backend}) has broken {n_lost} times, and no shard was done in "
                f"between ({error}). What does its scheduler's log say? Then run the same again: what is done is kept."
            ) from error
        self._patience = _COME_BACK_SECONDS
        _log.warning(
            "The connection to the cluster (%s) has broken: %s. Waiting up to %.0f s for it to come back; what is done "
            "is kept.",
            self._backend,
            error,
            self._patience,
        )
        time.sleep(_PAUSE_SECONDS)

    def _count_lost(self, error: WorkerLostError) -> list[int]:
        """Count a try of the shards whose workers are gone, and return them; those that live go on, on a cluster.

        Not of earlier rounds: their workers may have ended since with a scheduler that went away.
        """
        lost = {
            note.shard: note
            for note in attempts.at_work(self.place)
            if (note.client, note.n_round) == (self.token, self._n_round)
            and (not note.is_alive if error.living is None else note.process not in error.living)
        }
        for note in lost.values():
            self.place.remove(note.name)
            attempts.count_try(self.place, note.shard, f"{attempts.DIED} {around(self.job, note)}: {_cause(error)}")
        return sorted(lost)

    def _ending_early(self, error: WorkerLostError) -> JobError:
        on_cluster = "What do their logs say?"
        here = "Is there too little memory? Try --n-jobs 1."
        return JobError(
            f"Workers end before they begin ({error}). {on_cluster if self._backend in CLUSTERS else here} "
            "What is done is kept."
        )

    def _set_aside(self) -> None:
        for shard, (number, reason) in attempts.reasons(self.place).items():
            if number < attempts.TRIES:
                continue
            if self.place.has(table_name(shard)):  # it was to be done again
                self.place.remove(again_name(shard))
                _log.warning("Shard %d is left as it was done before: %d tries; %s", shard, number, reason)
            else:
                attempts.set_aside(self.place, shard, f"{number} tries; {reason}")
            attempts.forget_tries(self.place, {shard})


def _cause(error: BaseException) -> str:
    """Return how a worker died, in a few words: loky's message ends with the exit codes."""
    text = str(error)
    codes = text.partition("exit codes of the workers are")[2].partition("}")[0].strip(" {}.")
    return codes or text[:200]
