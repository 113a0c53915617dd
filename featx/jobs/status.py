"""How far a job is."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

from featx.features.job_columns import import_pyarrow
from featx.features.job_format import CommittedShard, totals
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running.monitor import images_done, running, said_of
from featx.jobs.running.summary import as_computed, as_damaged, as_set_aside
from featx.jobs.storage import Place
from featx.system.formatting import format_count, format_duration


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """What `featx job status` says; the fields of its ``--json``.

    Attributes
    ----------
    output : str
    images, shards : int
        Of the whole job.
    shards_done : int
    images_done : int
        Of shards that are done, and what workers are known to have done of others.
    images_left : int
    rows, failed, computed, cached, padded, changed : int
        Of the shards that are done.
    set_aside, damaged : dict of int to str
        Shards that ended every worker, and that are not what was committed; and why. ``featx job run`` does the latter
        again.
    running : list of str
        Who runs the job now.
    at_work : dict of int to int
        Shards that workers are at, and how many of their images are done.
    images_per_second : float or None
        Of those who run it now, together; else of the shards that are done, as one worker did them.
    seconds_left : float or None
        At that rate.
    backbone, fingerprint, featx : str
        What was planned, and by which version.
    """

    output: str
    images: int
    shards: int
    shards_done: int
    images_done: int
    images_left: int
    rows: int
    failed: int
    computed: int
    cached: int
    padded: int
    changed: int
    set_aside: dict[int, str]
    damaged: dict[int, str]
    running: list[str]
    at_work: dict[int, int]
    images_per_second: float | None
    seconds_left: float | None
    backbone: str
    fingerprint: str
    featx: str

    @property
    def is_done(self) -> bool:
        """Whether every shard is done."""
        return self.shards_done == self.shards

    def as_text(self) -> str:
        """Return the status for people."""
        lines = [
            f"{self.output}: {self.shards_done:,} of {format_count(self.shards, 'shard')} done, "
            f"{self.images_done:,} of "
            f"{format_count(self.images, 'image')}; {self.images_left:,} left",
            f"{format_count(self.rows, 'row')}, {self.failed:,} failed; {as_computed(self.computed, self.cached)}",
        ]
        if self.images_per_second and self.images_left:
            left = "" if self.seconds_left is None else f", {format_duration(self.seconds_left)} left"
            lines.append(f"{self.images_per_second:.0f} images/s{left}")
        if self.running and not self.images_per_second and self.images_left:
            lines.append("none of them in this run so far: workers get the network ready first")
        if self.changed:
            lines.append(f"{format_count(self.changed, 'file')} had changed since the job was planned")
        lines += [f"run by {who}" for who in self.running]
        if not self.running and self.shards_done + len(self.set_aside) < self.shards:
            lines.append(f"nobody runs it: featx job run {self.output}")
        return "\n".join([*lines, *as_damaged(self.damaged, self.output), *as_set_aside(self.set_aside, self.output)])


def job_status(output: str | os.PathLike[str]) -> JobStatus:
    """Return how far a job is, whoever runs it.

    Parameters
    ----------
    output : str or Path
        As it was planned.

    Returns
    -------
    JobStatus

    Raises
    ------
    JobError
        There is no job.

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> from featx import job_status, plan_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/photos")
    ...     for number in range(3):
    ...         PIL.Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(f"{folder}/photos/{number}.png")
    ...     options = {"backbone": "color_histogram", "shard_size": 2, "sample": 0, "cache": None}
    ...     plan = plan_job(f"{folder}/photos", f"{folder}/job", **options)
    ...     status = job_status(f"{folder}/job")
    >>> status.shards, status.shards_done, status.images_left, status.is_done
    (2, 0, 3, False)
    """
    import_pyarrow()
    job = Job(Place(output))
    done, damaged = job.committed()
    clients = list(running(job.place))
    notes = [note for note in attempts.at_work(job.place) if note.is_alive and note.shard not in done]
    n_done = images_done(job) - sum(job.n_images(shard) for shard in damaged if shard < job.manifest.n_shards)
    rate = _rate(n_done, clients, list(done.values()))
    sums = totals(done.values())
    left = job.manifest.n_images - n_done
    return JobStatus(
        output=job.place.address,
        images=job.manifest.n_images,
        shards=job.manifest.n_shards,
        shards_done=len(done),
        images_done=n_done,
        images_left=left,
        set_aside=attempts.which_aside(job.place, done),
        damaged=damaged,
        running=[said_of(client) for client in clients],
        at_work={note.shard: note.n_done for note in notes},
        images_per_second=rate and round(rate, 1),
        seconds_left=round(left / rate, 1) if rate else None,
        backbone=str(job.manifest.recipe["backbone"]),
        fingerprint=job.manifest.fingerprint,
        featx=job.manifest.featx,
        **{name: sums[name] for name in ("rows", "failed", "computed", "cached", "padded", "changed")},
    )


def _rate(n_done: int, clients: list[dict[str, Any]], done: list[CommittedShard]) -> float | None:
    """Return images/s of those who run the job, since the first of them began; else of the shards that are done."""
    if clients:
        first = min(clients, key=lambda client: float(client["time"]))
        seconds = time.time() - first["time"]
        return (n_done - first["before"]) / seconds if seconds > 0 and n_done > first["before"] else None
    seconds = sum(shard.seconds for shard in done)
    return sum(shard.n_images for shard in done) / seconds if seconds else None
