"""What may become of a cluster that runs the tasks of a job."""

from __future__ import annotations

from featx.jobs.running.heartbeats import Process

#: Seconds to find a cluster.
CONNECT_SECONDS = 5.0


class ClusterLostError(Exception):
    """The connection to a cluster has broken; its workers may go on."""


class WorkerLostError(Exception):
    """A worker has died in mid-task.

    Attributes
    ----------
    living : set of (str, int, int or None), or None
        Other workers, which may go on with what they are at, as :func:`featx.jobs.running.heartbeats.this_process` says of them;
        None if that is unknown.
    """

    def __init__(self, reason: str, living: set[Process] | None) -> None:
        super().__init__(reason)
        self.living = living
