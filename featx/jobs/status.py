"""Report how far a job is."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time

from featx.features.job_files import CommittedShard, sum_counts
from featx.jobs.job import open_job
from featx.jobs.running.heartbeats import Client, count_done_images, read_heartbeats, running_clients
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import format_count, format_duration
from featx.system.notebook.cards import COLORS, bar_to_html, card_to_html
from featx.system.notebook.html import TextResult


@dataclasses.dataclass(frozen=True)
class JobStatus(TextResult):
    """Result of :func:`featx.job_status`; its fields are those of ``featx job status --json``.

    Attributes
    ----------
    output : str
        Path or URL of the job.
    images, shards : int
        Number of images and shards of the whole job.
    shards_done : int
        Number of shards that are done.
    images_done, images_left : int
        Number of images of done shards and of those that workers have done so far; and of all others.
    rows, failed, computed, cached, padded, changed : int
        Counts of the done shards; see :class:`featx.JobRun`.
    quarantined, corrupt : dict of int to str
        Shards that failed repeatedly, and shards that differ from what was committed; and the reasons.
        ``featx job run`` computes the latter again.
    running : list of str
        Clients that run the job now.
    in_progress : dict of int to int
        Shards that workers are at, and the number of images that they have done.
    images_per_second : float or None
        Speed of the clients that run the job now; else of a single worker at the done shards.
    seconds_left : float or None
        Remaining time at that speed.
    backbone, fingerprint, featx : str
        Backbone and recipe fingerprint, and the version of featx that planned the job.

    See Also
    --------
    job_status : Report how far a job is.

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> from featx import job_status, plan_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/photos")
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/photos/0.png")
    ...     plan = plan_job(f"{folder}/photos", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    ...     status = job_status(f"{folder}/job")
    >>> status.is_done, status.images_left
    (False, 1)
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
    quarantined: dict[int, str]
    corrupt: dict[int, str]
    running: list[str]
    in_progress: dict[int, int]
    images_per_second: float | None
    seconds_left: float | None
    backbone: str
    fingerprint: str
    featx: str

    @property
    def is_done(self) -> bool:
        """Whether every shard is done."""
        return self.shards_done == self.shards

    def _repr_html_(self) -> str:
        """Return the state of the shards as a bar, and the counts, as HTML, for notebooks."""
        n_bad, n_active = len(self.quarantined) + len(self.corrupt), len(self.in_progress)
        shards = bar_to_html(
            [
                ("done", self.shards_done, COLORS["done"]),
                ("in progress", n_active, COLORS["active"]),
                ("quarantined or corrupt", n_bad, COLORS["bad"]),
                ("left", max(0, self.shards - self.shards_done - n_active - n_bad), COLORS["left"]),
            ]
        )
        images = bar_to_html(
            [
                ("done", self.images_done - self.failed, COLORS["done"]),
                ("unreadable", self.failed, COLORS["bad"]),
                ("left", self.images_left, COLORS["left"]),
            ]
        )
        facts = {
            "backbone": self.backbone,
            "images per second": f"{self.images_per_second:.0f}" if self.images_per_second else "",
            "time left": "" if self.seconds_left is None else format_duration(self.seconds_left),
            "run by": ", ".join(self.running) or ("" if self.is_done else "nobody"),
        }
        notes = describe_bad_shards(self.corrupt, self.quarantined, self.output)
        if self.changed:
            notes.append(f"{format_count(self.changed, 'file')} changed since planning")
        return card_to_html(self.output, facts, f"<b>shards</b>{shards}", f"<b>images</b>{images}", notes=notes)

    def as_text(self) -> str:
        """Return a human-readable summary."""
        lines = [
            f"{self.output}: {self.shards_done:,} of {format_count(self.shards, 'shard')} done, {self.images_done:,} "
            f"of {format_count(self.images, 'image')}; {self.images_left:,} left",
            f"{format_count(self.rows, 'row')}, {self.failed:,} failed; {describe_counts(self.computed, self.cached)}",
        ]
        if self.images_per_second and self.images_left:
            left = "" if self.seconds_left is None else f", {format_duration(self.seconds_left)} left"
            lines.append(f"{self.images_per_second:.0f} images/s{left}")
        if self.running and not self.images_per_second and self.images_left:
            lines.append("no image done in this run so far: workers load the network first")
        if self.changed:
            lines.append(f"{format_count(self.changed, 'file')} changed since planning")
        lines += [f"run by {client}" for client in self.running]
        if not self.running and self.shards_done + len(self.quarantined) < self.shards:
            lines.append(f"Not running. Run it: featx job run {shlex.quote(self.output)}")
        return "\n".join([*lines, *describe_bad_shards(self.corrupt, self.quarantined, self.output)])


def describe_counts(computed: int, cached: int) -> str:
    """Return where rows come from; without a cache, too, equal images of a shard are computed once."""
    return f"{computed:,} computed, {cached:,} cached or equal to another image"


def describe_bad_shards(corrupt: dict[int, str], quarantined: dict[int, str], output: str) -> list[str]:
    """Return a line for each corrupt and each quarantined shard, and the remedies."""
    command = f"featx job run {shlex.quote(output)}"
    lines = [f"shard {shard} is corrupt: {reason}" for shard, reason in corrupt.items()]
    if corrupt:
        lines.append(f"Compute these again: {command}")
    lines += [f"shard {shard} is quarantined: {reason}" for shard, reason in quarantined.items()]
    if quarantined:
        lines.append(f"Try these again: {command} --retry-quarantined")
    return lines


def job_status(job: str | os.PathLike[str]) -> JobStatus:
    """Report how far a job is, whoever runs it.

    Parameters
    ----------
    job : str or Path
        Path or URL of the job.

    Returns
    -------
    JobStatus
        What is done and what is left.

    Raises
    ------
    JobError
        There is no job.

    See Also
    --------
    run_job : Run what is missing of a job.

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
    opened = open_job(job)
    manifest = opened.manifest
    done, corrupt = opened.committed()
    clients = running_clients(opened.folder)
    beats = [beat for beat in read_heartbeats(opened.folder) if beat.is_alive and beat.shard not in done]
    n_done = count_done_images(opened) - sum(opened.n_images(shard) for shard in corrupt if shard < manifest.n_shards)
    speed = _images_per_second(n_done, clients, list(done.values()))
    n_left = manifest.n_images - n_done
    return JobStatus(
        output=opened.folder.location,
        images=manifest.n_images,
        shards=manifest.n_shards,
        shards_done=len(done),
        images_done=n_done,
        images_left=n_left,
        quarantined=opened.quarantined(done),
        corrupt=corrupt,
        running=[str(client) for client in clients],
        in_progress={beat.shard: beat.n_done for beat in beats},
        images_per_second=speed and round(speed, 1),
        seconds_left=round(n_left / speed, 1) if speed else None,
        backbone=str(manifest.recipe["backbone"]),
        fingerprint=manifest.fingerprint,
        featx=manifest.featx,
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
