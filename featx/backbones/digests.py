"""MD5 and SHA-256 of files, computed once in a process while a file does not change."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
from pathlib import Path


def file_digests(path: Path) -> dict[str, str]:
    """Return the digests of a file in hexadecimal, by ``"SHA-256"`` and ``"MD5"``."""
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return _digests_in_state(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@functools.lru_cache(maxsize=16)
def _digests_in_state(path: Path, *state: int) -> dict[str, str]:
    digests = {"SHA-256": hashlib.sha256(), "MD5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while block := file.read(2**20):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return file_digests(path)["SHA-256"]


def hash_name(digest: str) -> str:
    """Return the name of the hash function of a digest in hexadecimal: the key of :func:`file_digests`."""
    return "SHA-256" if len(digest) == 64 else "MD5"
