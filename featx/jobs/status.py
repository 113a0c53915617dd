"""The state of a job: its progress, and what a run of it has done."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time

from featx.features.job_files import CommittedShard, sum_counts
from featx.jobs.job import Job, open_job
from featx.jobs.running.heartbeats import Client, count_done_images, read_heartbeats, running_clients
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import format_count, format_duration
from featx.system.notebook.cards import COLORS, bar_to_html, card_to_html
from featx.system.notebook.html import TextResult


@dataclasses.dataclass(frozen=True)
class JobStatus(TextResult):
    """State of a job: the result of :func:`featx.job_status` and :func:`featx.run_job`, as ``--json`` prints it.

    Attributes
    ----------
    job : str
        Path or URL of the job.
    images, shards, shards_done : int
        Number of images and shards of the whole job, and of the shards that are done.
    images_done, images_left : int
        Number of images of done shards and of those that workers have done so far; and of all others.
    rows, failed, computed, cached, padded, changed : int
        Counts of the done shards: rows; unreadable images; images that the network computed, and that have the row of
        the cache or of an equal image; truncated images; and files that changed since planning.
    quarantined, corrupt : dict of int to str
        Shards that failed repeatedly, and shards that differ from what was committed; and the reasons.
        ``featx job run`` computes the latter again.
    recomputed : dict of int to str
        Shards that were corrupt before this run and were computed again, and the reasons. Empty without a run.
    running : list of str
        Clients that run the job now.
    in_progress : dict of int to int
        Shards in progress, and the number of their images that are done.
    seconds : float or None
        Duration of this run; None without a run.
    images_per_second, seconds_left : float or None
        Speed of this run; without one, of the clients that run the job now, or else of a single worker. And the
        remaining time at that speed.
    backbone, fingerprint, featx : str
        Backbone and recipe fingerprint, and the version of featx that planned the job.

    See Also
    --------
    job_status : Report the progress of a job.
    run_job : Process the remaining shards of a job.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import job_status, plan_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    ...     status = job_status(f"{folder}/job")
    >>> status.is_complete, status.images_left
    (False, 1)
    """

    job: str
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
    quarantined: dict[int, str]
    corrupt: dict[int, str]
    running: list[str]
    in_progress: dict[int, int]
    images_per_second: float | None
    seconds_left: float | None
    backbone: str
    fingerprint: str
    featx: str
    recomputed: dict[int, str]
    seconds: float | None

    @property
    def is_complete(self) -> bool:
        """Whether all shards are done."""
        return self.shards_done == self.shards

    def _repr_html_(self) -> str:
        """Return the state of the shards as a bar, and the counts, as HTML, for notebooks."""
        n_bad, n_active = len(self.quarantined) + len(self.corrupt), len(self.in_progress)
        n_left = max(0, self.shards - self.shards_done - n_active - n_bad)
        names = ("done", "in progress", "quarantined or corrupt", "left")
        colors = [COLORS[name] for name in ("done", "active", "bad", "left")]
        shards = bar_to_html(zip(names, (self.shards_done, n_active, n_bad, n_left), colors, strict=True))
        counts = (self.images_done - self.failed, 0, self.failed, self.images_left)
        images = bar_to_html(zip(("done", "", "unreadable", "left"), counts, colors, strict=True))
        facts = {
            "backbone": self.backbone,
            "changed since planning": f"{self.changed:,}" if self.changed else "",
            "images per second": f"{self.images_per_second:.0f}" if self.images_per_second else "",
            "time left": "" if self.seconds_left is None else format_duration(self.seconds_left),
            "run by": ", ".join(self.running) or ("" if self.is_complete else "nobody"),
        }
        bars = f"<b>shards</b>{shards}", f"<b>images</b>{images}"
        return card_to_html(self.job, facts, *bars, notes=self._bad_shards())

    def as_text(self) -> str:
        """Return a human-readable summary."""
        lines = [
            f"{self.job}: {self.shards_done:,} of {format_count(self.shards, 'shard')} done, {self.images_done:,} "
            f"of {format_count(self.images, 'image')}; {self.images_left:,} left",
            f"{format_count(self.rows, 'row')}, {self.failed:,} failed; {self.computed:,} computed, {self.cached:,} "
            "cached or equal to another image",
        ]
        left = "" if self.seconds_left is None else f", {format_duration(self.seconds_left)} left"
        if self.seconds is not None:
            lines.append(f"this run took {self.seconds:.1f} s, {self.images_per_second:.0f} images/s")
        elif self.images_per_second and self.images_left:
            lines.append(f"{self.images_per_second:.0f} images/s{left}")
        elif self.running and self.images_left:
            lines.append("no image done in this run so far: workers load the network first")
        if self.changed:
            lines.append(f"{format_count(self.changed, 'file')} changed since planning; rows are of the current files")
        if self.padded:
            lines.append(f"{format_count(self.padded, 'truncated image')} padded: missing pixels are gray or black")
        job = shlex.quote(self.job)
        if self.failed:
            lines.append(
                "The tables of the shards list what failed, and why; so does featx job merge. Try again: featx job run "
                f"{job} --retry-failed"
            )
        reasons = self.recomputed.items()
        lines += [f"shard {shard} was corrupt ({reason}) and was recomputed" for shard, reason in reasons]
        lines += [f"run by {client}" for client in self.running] + self._bad_shards()
        if self.is_complete:
            lines.append(f"Next: featx job merge {job} -o features.npy")
        elif not self.running and self.shards_done + len(self.quarantined) < self.shards:
            lines.append(f"Not running. Run it: featx job run {job}")
        return "\n".join(lines)

    def _bad_shards(self) -> list[str]:
        """Return a line for each corrupt and each quarantined shard, and the remedies."""
        command = f"featx job run {shlex.quote(self.job)}"
        lines = [f"shard {shard} is corrupt: {reason}" for shard, reason in self.corrupt.items()]
        if self.corrupt:
            lines.append(f"Compute these again: {command}")
        lines += [f"shard {shard} is quarantined: {reason}" for shard, reason in self.quarantined.items()]
        return lines + [f"Try these again: {command} --retry-quarantined"] * bool(self.quarantined)


def job_status(job: str | os.PathLike[str]) -> JobStatus:
    """Report the progress of a job, whoever runs it.

    Parameters
    ----------
    job : str or Path
        Path or URL of the job.

    Returns
    -------
    JobStatus
        Number of images and shards that are done, and of those that are left.

    Raises
    ------
    JobError
        There is no job.

    See Also
    --------
    run_job : Process the remaining shards of a job.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import job_status, plan_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    ...     status = job_status(f"{folder}/job")
    >>> status.shards, status.shards_done, status.images_left
    (1, 0, 1)
    """
    import_pyarrow()
    return status_of(open_job(job))


def status_of(job: Job) -> JobStatus:
    """Report how far an opened job is."""
    manifest = job.manifest
    done, corrupt = job.committed()
    clients = running_clients(job.folder)
    beats = [beat for beat in read_heartbeats(job.folder) if beat.is_alive and beat.shard not in done]
    n_done = count_done_images(job) - sum(job.n_images(shard) for shard in corrupt if shard < manifest.n_shards)
    speed = _images_per_second(n_done, clients, list(done.values()))
    n_left = manifest.n_images - n_done
    return JobStatus(
        job=job.folder.location,
        images=manifest.n_images,
        shards=manifest.n_shards,
        shards_done=len(done),
        images_done=n_done,
        images_left=n_left,
        quarantined=job.quarantined(done),
        corrupt=corrupt,
        running=[str(client) for client in clients],
        in_progress={beat.shard: beat.n_done for beat in beats},
        images_per_second=speed and round(speed, 1),
        seconds_left=round(n_left / speed, 1) if speed else None,
        backbone=str(manifest.recipe["backbone"]),
        fingerprint=manifest.fingerprint,
        featx=manifest.featx,
        recomputed={},
        seconds=None,
        **sum_counts(done.values()),
    )


def _images_per_second(n_done: int, clients: list[Client], done: list[CommittedShard]) -> float | None:
    """Return the speed of the running clients since the first of them started; else that of the done shards."""
    if clients:
        first = min(clients, key=lambda client: client.time)
        seconds, n_new = time.time() - first.time, n_done - first.n_before
        return n_new / seconds if seconds > 0 and n_new > 0 else None
    seconds = sum(shard.seconds for shard in done)
    return sum(shard.n_images for shard in done) / seconds if seconds else None
