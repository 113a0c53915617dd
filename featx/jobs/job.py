"""A job in its folder, and which of its shards are quarantined or suspect."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterable

from featx.errors import JobError, SourceError
from featx.features.job_reader import JobReader
from featx.system.files import remote
from featx.system.files.folder import Folder, open_folder
from featx.system.files.url_secrets import check_no_secrets


def open_job_folder(location: str | os.PathLike[str]) -> Folder:
    """Return the folder of a job, which need not exist. JobError: no job can be at this path or URL."""
    text = os.fspath(location)
    if not text.strip():
        raise JobError(f"The folder of a job must have a name, got {text!r}. Pass a folder or a URL (s3://bucket/job).")
    if not remote.is_url(text):
        text = os.path.abspath(text)
    try:
        check_no_secrets(text)
        if remote.is_http_url(text):
            raise JobError(f"Cannot write a job to {text!r}: the web is read-only. Pass a folder or a URL of s3://.")
        return open_folder(text)
    except SourceError as error:
        raise JobError(str(error)) from error


def open_job(location: str | os.PathLike[str]) -> Job:
    """Return the job at a path or URL; see `Job` for what it raises."""
    return Job(open_job_folder(location))


class Job(JobReader):
    """A planned job, of which shards run; see `JobReader` for parameters and errors."""

    def quarantine(self, shard: int, reason: str) -> None:
        """Skip a shard from now on."""
        self.folder.write(_mark("quarantine", shard), _reason_json(reason))

    def quarantined(self, done: Container[int] = ()) -> dict[int, str]:
        """Return the quarantined shards and the reasons; not those that are done."""
        reasons = {}
        for shard in self._marked("quarantine"):
            if shard not in done:
                reasons[shard] = _read_reason(self.folder, _mark("quarantine", shard))
        return reasons

    def release(self, shards: Iterable[int]) -> None:
        """Take shards out of quarantine."""
        for shard in shards:
            self.folder.remove(_mark("quarantine", shard))

    def mark_suspect(self, shard: int, reason: str) -> None:
        """Let a shard run last, in this run and the next."""
        self.folder.create(_mark("suspects", shard), _reason_json(reason))

    def suspects(self) -> set[int]:
        """Return the shards that run last."""
        return set(self._marked("suspects"))

    def clear_suspects(self) -> None:
        """Forget which shards are suspect."""
        for shard in self._marked("suspects"):
            self.folder.remove(_mark("suspects", shard))

    def _marked(self, folder: str) -> list[int]:
        names = self.folder.names(folder)
        return sorted(int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit())


def _mark(folder: str, shard: int) -> str:
    return f"{folder}/{shard:08}.json"


def _reason_json(reason: str) -> bytes:
    return json.dumps({"reason": reason, "time": time.time()}).encode()


def _read_reason(folder: Folder, name: str) -> str:
    try:
        return str(json.loads(folder.read(name))["reason"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "unknown reason"
