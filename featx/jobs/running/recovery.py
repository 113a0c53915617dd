"""What is done before a run: what others have left is cleared up, and what is to be done again is noted."""

from __future__ import annotations

from featx.errors import JobError
from featx.features.job_format import FOLDERS, CommittedShard, again_name, matrix_name, table_name
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running import retries as outcomes
from featx.jobs.running.hashed_npy import checksum_of
from featx.jobs.running.monitor import matrix_here, running


def clear_up(
    job: Job, *, verify: bool, retry_quarantined: bool, retry_failed: bool
) -> tuple[dict[int, CommittedShard], dict[int, str]]:
    """Let what is damaged be done again.

    Parameters
    ----------
    job : Job
    verify, retry_quarantined, retry_failed : bool
        As of :func:`featx.jobs.running.run.run_job`.

    Returns
    -------
    done : dict of int to CommittedShard
    damaged : dict of int to str
        Shards of the plan, and why.
    """
    place = job.place
    place.prepare(*FOLDERS)
    place.tidy("", *FOLDERS)
    is_alone = _clear_notes(job)
    done, damaged = job.committed()
    if verify:
        damaged |= {number: reason for number, shard in done.items() if (reason := _why_damaged(job, shard))}
    for number in damaged:
        done.pop(number, None)
        _remove(job, number)
    aside = set(attempts.which_aside(place))
    attempts.take_back(place, aside if retry_quarantined else aside & set(done))
    if is_alone:
        for name in place.names("again"):  # of a run that was broken off: what is committed stands
            place.remove(f"again/{name}")
    for number, shard in done.items() if retry_failed else ():
        if shard.failed:
            place.write(again_name(number), b"{}")
    return done, {number: reason for number, reason in damaged.items() if number < job.manifest.n_shards}


def _clear_notes(job: Job) -> bool:
    """Remove the notes of workers that have gone with their client; return whether no other client lives.

    One that lives counts its own as tries.
    """
    place = job.place
    living = {note["client"] for note in running(place)}
    for note in attempts.at_work(place):
        if not note.is_alive and note.client not in living:
            attempts.suspect(place, note.shard, "its worker and its client have ended")
            place.remove(note.name)
    outcomes.forget(place, outcomes.clients(place) - living)
    return not living


def _remove(job: Job, shard: int) -> None:
    """Remove a shard that is damaged, at once: somebody else may do so, too, and commit it anew."""
    job.place.remove(table_name(shard))  # first: without it, the shard is none
    job.place.remove(matrix_name(shard))


def _why_damaged(job: Job, shard: CommittedShard) -> str:
    try:
        job.lines(shard)
        with matrix_here(job, shard.shard) as path:
            return "" if checksum_of(path) == shard.checksum else "its matrix has other bytes than were committed"
    except FileNotFoundError:
        return "its matrix is missing"
    except JobError as error:
        return str(error).partition(". ")[0]
