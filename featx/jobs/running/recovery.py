"""Clean-up before a run: remove the traces of dead workers, and the corrupt shards, which are computed again."""

from __future__ import annotations

from featx.features.job_files import FOLDERS, CommittedShard, table_name
from featx.jobs.job import Job
from featx.jobs.running.heartbeats import read_heartbeats, running_clients


def recover(job: Job, *, verify: bool, retry_quarantined: bool) -> tuple[dict[int, CommittedShard], dict[int, str]]:
    """Remove corrupt shards, so that they are computed again.

    Return the shards that are done, and the reasons of those that were corrupt. For `verify` and `retry_quarantined`
    see :func:`featx.run_job`.
    """
    folder = job.folder
    folder.make_folders(*FOLDERS)
    folder.remove_abandoned("", *FOLDERS)
    _mark_suspects(job)
    done, corrupt = job.committed()
    if verify:
        corrupt |= {shard: reason for shard, committed in done.items() if (reason := job.find_corruption(committed))}
    for shard in corrupt:
        done.pop(shard, None)
        folder.remove(table_name(shard))
    for name in folder.names("shards") if corrupt else ():
        if name.endswith(".npy") and name[:8].isdigit() and int(name[:8]) in corrupt:
            folder.remove(f"shards/{name}")
    quarantined = set(job.quarantined())
    job.release(quarantined if retry_quarantined else quarantined & set(done))
    return done, {shard: reason for shard, reason in corrupt.items() if shard < job.manifest.n_shards}


def _mark_suspects(job: Job) -> None:
    """Let shards run last whose worker died together with its client, so that nobody knows the cause.

    A client that is alive counts the deaths of its own workers.
    """
    living = {client["token"] for client in running_clients(job.folder)}
    for beat in read_heartbeats(job.folder):
        if not beat.is_alive and beat.client not in living:
            job.mark_suspect(beat.shard, "its worker and its client died")
            job.folder.remove(beat.name)
