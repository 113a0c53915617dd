"""What a run of a job has come to, in numbers and in words."""

from __future__ import annotations

import dataclasses

from featx.features.job_format import totals
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.system.formatting import format_count


@dataclasses.dataclass(frozen=True)
class JobRun:
    """What `featx job run` says when it is done; the fields of its ``--json``.

    Attributes
    ----------
    output : str
    shards, done : int
        Of the job, and how many of them are done.
    images, rows, failed : int
        Of the shards that are done.
    computed, cached : int
        Images that went through the network in these shards, and whose row was in the store or is that of an equal
        image.
    padded, changed : int
        Truncated images made complete; files that were no longer as they were planned.
    set_aside : dict of int to str
        Shards that ended every worker, and how.
    damaged : dict of int to str
        Shards that are not what was committed, since this run began; and why.
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
    damaged: dict[int, str]
    redone: dict[int, str]
    seconds: float
    images_per_second: float

    def as_text(self) -> str:
        """Return a summary for people."""
        lines = [
            f"{self.done:,} of {format_count(self.shards, 'shard')} done in {self.output}: "
            f"{format_count(self.rows, 'row')}, "
            f"{self.failed:,} failed",
            f"{as_computed(self.computed, self.cached)}; this run took {self.seconds:.1f} s, "
            f"{self.images_per_second:.0f} images/s",
        ]
        if self.changed:
            lines.append(
                f"{format_count(self.changed, 'file')} had changed since the job was planned; rows are of what "
                f"is there now"
            )
        if self.padded:
            lines.append(
                f"{format_count(self.padded, 'truncated image')} made complete: what is missing is grey or black"
            )
        if self.failed:
            lines.append(
                f"What failed, and why, is in the tables of the shards, and in those that merge writes; to try again: "
                f"featx job run {self.output} --retry-failed"
            )
        lines += [f"shard {shard} was damaged ({reason}), and done again" for shard, reason in self.redone.items()]
        lines += [*as_damaged(self.damaged, self.output), *as_set_aside(self.set_aside, self.output)]
        if self.done == self.shards:
            lines.append(f"Next: featx job merge {self.output} -o features.npy")
        return "\n".join(lines)


def as_computed(computed: int, cached: int) -> str:
    """Return where rows come from; without a store, too, equal images of a shard are computed once."""
    return f"{computed:,} computed, {cached:,} from the store or equal to another"


def as_damaged(damaged: dict[int, str], output: str) -> list[str]:
    """Return a line for each shard that is damaged, and what to do."""
    lines = [f"shard {shard} is damaged: {reason}" for shard, reason in damaged.items()]
    return [*lines, f"To do these again: featx job run {output}"] if lines else []


def as_set_aside(aside: dict[int, str], output: str) -> list[str]:
    """Return a line for each shard that is set aside, and what to do."""
    lines = [f"shard {shard} is set aside: {reason}" for shard, reason in aside.items()]
    return [*lines, f"To try these again: featx job run {output} --retry-quarantined"] if lines else []


def summary(job: Job, n_before: int, redone: dict[int, str], seconds: float) -> JobRun:
    """Return what a run that took so many seconds has come to; before it, so many images were done."""
    done, damaged = job.committed()
    sums = totals(done.values())
    n_images = sum(shard.n_images for shard in done.values())
    return JobRun(
        output=job.place.address,
        shards=job.manifest.n_shards,
        done=len(done),
        images=n_images,
        set_aside=attempts.which_aside(job.place, done),
        damaged=damaged,
        redone=redone,
        seconds=round(seconds, 3),
        images_per_second=round((n_images - n_before) / seconds, 1),
        **{name: sums[name] for name in ("rows", "failed", "computed", "cached", "padded", "changed")},
    )
