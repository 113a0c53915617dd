"""Run what is missing of a job: rounds of tasks, crashes counted, what ends every worker set aside."""

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
from collections.abc import Callable, Iterator, Sequence

from featx import __version__, backbones, files
from featx.errors import FeatxWarning, JobError, OptionError
from featx.jobs import attempts
from featx.jobs.clusters import ClusterLostError, WorkerLostError
from featx.jobs.columns import arrow
from featx.jobs.engines import CLUSTERS, check_backend, run_tasks
from featx.jobs.job import Job
from featx.jobs.layout import FOLDERS, Committed, matrix_name, table_name, totals
from featx.jobs.place import Place
from featx.jobs.rows import checksum_of
from featx.jobs.watching import matrix_here, running, said_of, watching
from featx.jobs.working import Task, around, resolve, work
from featx.options import resolve_cache
from featx.wording import counted

#: Workers may die so often without having begun a shard.
_FALSE_STARTS = 3
#: A cluster that went away may come back within so many seconds.
_COME_BACK_SECONDS = 60.0

_log = logging.getLogger("featx")


@dataclasses.dataclass(frozen=True)
class Run:
    """What `featx job run` says when it is done; the fields of its ``--json``.

    Attributes
    ----------
    output : str
    shards, done : int
        Of the job, and how many of them are done.
    images, rows, failed : int
        Of the shards that are done.
    computed, cached : int
        Images that went through the network in these shards, and whose row was there already.
    padded, changed : int
        Truncated images made complete; files that were no longer as they were planned.
    set_aside : dict of int to str
        Shards that ended every worker, and how.
    redone : dict of int to str
        Shards that were damaged and computed anew, and how.
    seconds, images_per_second : float
        Of this run.
    """

    output: str
    shards: int
    done: int
    images: int
    rows: int
    failed: int
    computed: int
    cached: int
    padded: int
    changed: int
    set_aside: dict[int, str]
    redone: dict[int, str]
    seconds: float
    images_per_second: float

    def as_text(self) -> str:
        """Return a summary for people."""
        lines = [
            f"{self.done:,} of {counted(self.shards, 'shard')} done in {self.output}: {counted(self.rows, 'row')}, "
            f"{self.failed:,} failed",
            f"{self.computed:,} computed, {self.cached:,} from the store; this run took {self.seconds:.1f} s, "
            f"{self.images_per_second:.0f} images/s",
        ]
        if self.changed:
            lines.append(
                f"{counted(self.changed, 'file')} had changed since the job was planned; rows are of what is there now"
            )
        if self.padded:
            lines.append(f"{counted(self.padded, 'truncated image')} made complete: what is missing is grey or black")
        lines += [f"shard {shard} was damaged ({reason}), and done again" for shard, reason in self.redone.items()]
        lines += as_set_aside(self.set_aside, self.output)
        if self.done == self.shards:
            lines.append(f"Next: featx job merge {self.output} -o features.npy")
        return "\n".join(lines)


def as_set_aside(aside: dict[int, str], output: str) -> list[str]:
    """Return a line for each shard that is set aside, and what to do."""
    lines = [f"shard {shard} is set aside: {reason}" for shard, reason in aside.items()]
    return [*lines, f"To try these again: featx job run {output} --retry-set-aside"] if lines else []


def run_job(
    output: str | os.PathLike[str],
    *,
    backend: str = "sequential",
    n_jobs: int = -1,
    scheduler: str | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: str = "skip",
    retry_set_aside: bool = False,
    retry_failed: bool = False,
    verify: bool = False,
    engine: str = "auto",
    batch_size: int = 32,
    progress: Callable[[int], object] | None = None,
) -> Run:
    """Run what is missing of a job; what is done is not done again.

    Any number of clients may run the same job at once, on any machines that see its folder.

    Parameters
    ----------
    output : str or Path
        As it was planned.
    backend : {"sequential", "loky", "dask", "ray"}, default="sequential"
        One process that uses all cores, several, or the workers of a cluster, which must see `output` and the images,
        and have this featx. What ends its worker is set aside after three tries.
    n_jobs : int, default=-1
        Processes of ``"loky"`` and ``"ray"``; -1 is one for each core. Of Dask all workers are used.
    scheduler : str or None, default=None
        Address of the cluster: ``tcp://host:8786`` of Dask, ``ray://host:10001`` of Ray. None is what
        ``DASK_SCHEDULER_ADDRESS`` or ``RAY_ADDRESS`` says; without either Ray uses this machine alone.
    cache : str, Path or None, default="auto"
        As of :class:`featx.FeatureExtractor`. With a cache, a shard that is broken off goes on where it was.
    on_error : {"skip", "raise"}, default="skip"
        What to do about an image that cannot be read: list it, or stop.
    retry_set_aside : bool, default=False
        Try the shards again that were set aside.
    retry_failed : bool, default=False
        Do the shards again in which images could not be read; the rows of the others are in the store.
    verify : bool, default=False
        Read every shard that is done, and do those again whose bytes are not what was committed.
    engine, batch_size
        As of :class:`featx.FeatureExtractor`.
    progress : callable, default=None
        Called with the number of images done since the last call.

    Returns
    -------
    Run

    Raises
    ------
    JobError
        There is no job, or this machine cannot give the features that were planned.
    OptionError, OutputError, StoreError, EngineError, UnreadableImageError
    """
    started = time.perf_counter()
    arrow()
    check_backend(backend, n_jobs, scheduler)
    job = Job(Place(output))
    if backend in CLUSTERS and not job.place.is_shared:
        raise OptionError(f"The workers of {backend} do not see {job.place.address!r}: it is that of one process.")
    folder = resolve_cache(cache)
    here = {"engine": engine, "batch_size": batch_size}
    resolve(job, here)
    if job.manifest.featx != __version__:
        warnings.warn(
            f"The job in {job.place.address!r} was planned by featx {job.manifest.featx}, and this is {__version__}: "
            "the recipe is the same, and so are the rows.",
            FeatxWarning,
            stacklevel=2,
        )
    client = _Client(job, backend, n_jobs, scheduler)
    client.task = Task(
        address=job.place.address,
        job_id=job.manifest.id,
        shard=0,
        client=client.token,
        folder=os.getcwd(),
        cache=str(folder) if folder else None,
        raise_on_error=on_error == "raise",
        here=here,
        backbone=backbones.registered_here(job.manifest.options.get("backbone", "mobilenet")),
    )
    redone = client.clear_up(verify=verify, retry_set_aside=retry_set_aside, retry_failed=retry_failed)
    n_before = client.n_images_done
    with client.noted(), watching(job, client.token, n_before, progress):
        client.run()
    return _summary(job, n_before, redone, time.perf_counter() - started)


def _summary(job: Job, n_before: int, redone: dict[int, str], seconds: float) -> Run:
    done, _ = job.committed()
    sums = totals(done.values())
    n_images = sum(shard.n_images for shard in done.values())
    return Run(
        output=job.place.address,
        shards=job.manifest.n_shards,
        done=len(done),
        images=n_images,
        set_aside=attempts.which_aside(job.place),
        redone=redone,
        seconds=round(seconds, 3),
        images_per_second=round((n_images - n_before) / seconds, 1),
        **{name: sums[name] for name in ("rows", "failed", "computed", "cached", "padded", "changed")},
    )


class _Client:
    """One run of a job."""

    task: Task

    def __init__(self, job: Job, backend: str, n_jobs: int, scheduler: str | None) -> None:
        self.job, self.place = job, job.place
        self._backend, self._n_jobs, self._scheduler = backend, n_jobs, scheduler
        self._patience = 0.0
        self.token = uuid.uuid4().hex
        self.done: dict[int, Committed] = {}

    @property
    def n_images_done(self) -> int:
        return sum(shard.n_images for shard in self.done.values())

    def clear_up(self, *, verify: bool, retry_set_aside: bool, retry_failed: bool) -> dict[int, str]:
        """Take in what is done; let what is damaged be done again, and return it."""
        self.place.prepare(*FOLDERS)
        self.place.tidy("", *FOLDERS)
        for note in attempts.at_work(self.place):
            if not note.is_alive:
                self.place.remove(note.name)
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
        n_false_starts = 0
        while pending := self._pending():
            tries = attempts.tried(self.place)
            fresh = [shard for shard in pending if shard not in tries]
            try:
                # One that has ended a worker goes alone, so that no other is blamed.
                self._round(fresh or pending[:1])
            except ClusterLostError as error:
                self._begin_again(error)
            except WorkerLostError as error:
                lost = self._count_lost(error)
                n_false_starts = 0 if lost or self._pending() != pending else n_false_starts + 1
                if n_false_starts == _FALSE_STARTS:
                    raise JobError(
                        f"Workers end before they begin ({error}). Is there too little memory? Try --n-jobs 1."
                    ) from error
            self._set_aside()
        attempts.forget_tries(
            self.place, set(range(self.job.manifest.n_shards)) - set(attempts.which_aside(self.place))
        )

    def _pending(self) -> list[int]:
        """Return the shards to do; those that others are at come last."""
        names = self.place.listed("shards")
        aside = attempts.which_aside(self.place)
        left = [
            shard
            for shard in range(self.job.manifest.n_shards)
            if os.path.basename(table_name(shard)) not in names and shard not in aside
        ]
        others = {note.shard for note in attempts.at_work(self.place) if note.client != self.token and note.is_alive}
        return sorted(left, key=lambda shard: shard in others)

    def _round(self, shards: Sequence[int]) -> None:
        tasks = (dataclasses.replace(self.task, shard=shard) for shard in shards)
        run_tasks(
            work,
            tasks,
            backend=self._backend,
            n_jobs=self._n_jobs,
            scheduler=self._scheduler,
            patience=self._patience,
            is_shared=self.place.is_shared,
        )

    def _begin_again(self, error: ClusterLostError) -> None:
        """Wait for a cluster that went away; its workers may go on with what they are at, and that is no try of it."""
        self._patience = _COME_BACK_SECONDS
        self.token = uuid.uuid4().hex
        self.task = dataclasses.replace(self.task, client=self.token)
        _log.warning(
            "The connection to the cluster (%s) has broken: %s. Waiting up to %.0f s for it to come back; what is done "
            "is kept.",
            self._backend,
            error,
            self._patience,
        )

    def _count_lost(self, error: WorkerLostError) -> list[int]:
        """Count a try of the shards that our workers were at when one died, and return them."""
        if self._backend in CLUSTERS:
            return []  # the others go on; who takes up a shard next counts its tries
        ours = {note.shard: note for note in attempts.at_work(self.place) if note.client == self.token}
        for note in ours.values():
            self.place.remove(note.name)
            attempts.count_try(self.place, note.shard, f"its worker died {around(self.job, note)}: {_cause(error)}")
        return sorted(ours)

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
        note = {
            "where": files.where(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
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
