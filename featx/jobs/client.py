"""The client of a job: it gives out what is missing, round after round, and counts what ended its workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence

from featx.errors import FeatxWarning, JobError
from featx.jobs import attempts
from featx.jobs.clusters import ClusterLostError, WorkerLostError
from featx.jobs.engines import CLUSTERS, run_tasks
from featx.jobs.job import Job
from featx.jobs.layout import FOLDERS, Committed, matrix_name, table_name
from featx.jobs.rows import checksum_of
from featx.jobs.watching import matrix_here, running, said_of
from featx.jobs.working import Task, around, work

#: Workers may die so often without having begun a shard.
_FALSE_STARTS = 3
#: A cluster that went away may come back within so many seconds.
_COME_BACK_SECONDS = 60.0
#: It is given up when the connection has broken so often without a shard done in between.
_LOSSES, _PAUSE_SECONDS = 20, 1.0

_log = logging.getLogger("featx")


class Client:
    """One run of a job.

    Parameters
    ----------
    job : Job
    backend, n_jobs, scheduler
        As of :func:`featx.jobs.running.run_job`.

    Attributes
    ----------
    task : Task
        What all tasks have in common; set before :meth:`run`.
    token : str
        Of this client alone.
    done : dict of int to Committed
        Shards that were done before, once :meth:`clear_up` has looked.
    """

    task: Task

    def __init__(self, job: Job, backend: str, n_jobs: int, scheduler: str | None) -> None:
        self.job, self.place = job, job.place
        self._backend, self._n_jobs, self._scheduler = backend, n_jobs, scheduler
        self._patience = 0.0
        self._n_round = 0
        self.token = uuid.uuid4().hex
        self.done: dict[int, Committed] = {}

    @property
    def n_images_done(self) -> int:
        """Images that were done before."""
        return sum(shard.n_images for shard in self.done.values())

    def clear_up(self, *, verify: bool, retry_set_aside: bool, retry_failed: bool) -> dict[int, str]:
        """Take in what is done; let what is damaged be done again, and return it."""
        self.place.prepare(*FOLDERS)
        self.place.tidy("", *FOLDERS)
        self._clear_notes()
        if retry_set_aside:
            attempts.take_back(self.place, set(attempts.which_aside(self.place)))
        self.done, damaged = self.job.committed()
        for number in damaged:
            self._remove(number)
        for number, shard in list(self.done.items()) if verify else ():
            if reason := self._why_damaged(shard):
                damaged[number] = reason
                self._remove(number)
        for number, shard in list(self.done.items()) if retry_failed else ():
            if shard.failed:
                self._remove(number)
        return {number: reason for number, reason in damaged.items() if number < self.job.manifest.n_shards}

    def _clear_notes(self) -> None:
        """Remove the notes of workers that have gone with their client; a client that lives counts its own as tries."""
        living = {note["client"] for note in running(self.place)}
        for note in attempts.at_work(self.place):
            if not note.is_alive and note.client not in living:
                attempts.suspect(self.place, note.shard, "its worker and its client have ended")
                self.place.remove(note.name)

    def _remove(self, shard: int) -> None:
        """Remove a shard that is to be done again, at once: somebody else may do so, too, and commit it anew."""
        self.done.pop(shard, None)
        self.place.remove(table_name(shard))  # first: without it, the shard is none
        self.place.remove(matrix_name(shard))

    def _why_damaged(self, shard: Committed) -> str:
        try:
            self.job.lines(shard)
            with matrix_here(self.job, shard.shard) as path:
                return "" if checksum_of(path) == shard.checksum else "its matrix has other bytes than were committed"
        except FileNotFoundError:
            return "its matrix is missing"
        except JobError as error:
            return str(error).partition(". ")[0]

    def run(self) -> None:
        """Do what is left, round after round."""
        n_false_starts = n_lost = 0
        while pending := self._pending():
            tries = attempts.tried(self.place)
            fresh = [shard for shard in pending if not tries.get(shard)]
            self._n_round += 1
            try:
                # One that has ended a worker goes alone, so that no other is blamed.
                self._round(fresh or pending[:1])
            except ClusterLostError as error:
                n_lost = 1 if self._n_left() < len(pending) else n_lost + 1
                self._begin_again(error, n_lost)
            except WorkerLostError as error:
                lost = self._count_lost(error)
                n_false_starts = 0 if lost or self._n_left() < len(pending) else n_false_starts + 1
                if n_false_starts == _FALSE_STARTS:
                    raise self._ending_early(error) from error
            self._set_aside()
        attempts.forget_tries(
            self.place, set(range(self.job.manifest.n_shards)) - set(attempts.which_aside(self.place))
        )

    def _pending(self) -> list[int]:
        """Return the shards to do: at last those that may have ended worker and client, and those somebody is at."""
        names = self.place.names("shards")
        aside = attempts.which_aside(self.place)
        left = [
            shard
            for shard in range(self.job.manifest.n_shards)
            if os.path.basename(table_name(shard)) not in names and shard not in aside
        ]
        doubtful = attempts.tried(self.place)
        # Of an earlier round of ours, some may go on, too.
        at_work = {note.shard for note in attempts.at_work(self.place) if note.is_alive}
        return sorted(left, key=lambda shard: (shard in doubtful, shard in at_work))

    def _n_left(self) -> int:
        return len(self._pending())

    def _round(self, shards: Sequence[int]) -> None:
        tasks = (dataclasses.replace(self.task, shard=shard, n_round=self._n_round) for shard in shards)
        run_tasks(
            work,
            tasks,
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
            attempts.count_try(self.place, note.shard, f"its worker died {around(self.job, note)}: {_cause(error)}")
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
            if number >= attempts.TRIES:
                attempts.set_aside(self.place, shard, f"{number} tries; {reason}")
                attempts.forget_tries(self.place, {shard})

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Leave a note in the job's folder that it is run, for whoever asks."""
        name = f"running/{self.token}.json"
        others = list(running(self.place))
        if others:
            warnings.warn(
                f"This job is being run already: {', '.join(map(said_of, others))}. Both go on; the shards "
                "that the other is at are left to the last.",
                FeatxWarning,
                stacklevel=4,
            )
        where, pid, started = attempts.this_process()
        note = {
            "where": where,
            "host": socket.gethostname(),
            "pid": pid,
            "started": started,
            "time": time.time(),
            "before": self.n_images_done,
        }
        self.place.write(name, json.dumps(note).encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                for one in attempts.at_work(self.place):
                    if one.client == self.token:
                        self.place.remove(one.name)
                self.place.remove(name)


def _cause(error: BaseException) -> str:
    """Return how a worker died, in a few words: loky's message ends with the exit codes."""
    text = str(error)
    codes = text.partition("exit codes of the workers are")[2].partition("}")[0].strip(" {}.")
    return codes or text[:200]
