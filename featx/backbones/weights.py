"""Weights of a network: found on disk, fetched and checked. What they hold is Keras's business."""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.metadata
import logging
import os
import re
import stat
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from featx.backbones.base import Weights
from featx.errors import WeightsError, WeightsNotFoundError
from featx.system.child_process import run_child

#: What a user writes for weights that a network starts its training with.
RANDOM = "none"
_HEX = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_log = logging.getLogger("featx")


def keras_home() -> Path:
    """Return the folder where Keras keeps what it downloads."""
    if os.environ.get("KERAS_HOME"):
        return Path(os.environ["KERAS_HOME"])
    try:
        return Path.home() / ".keras"
    except RuntimeError:  # a process without a home: what Keras does then
        return Path(tempfile.gettempdir()) / ".keras"


def path_of_keras(url: str) -> Path:
    """Return where Keras keeps what it has fetched from an address."""
    return keras_home() / "models" / url.rsplit("/", 1)[1]


def path_of_url(weights: str) -> Path:
    """Return where weights at an address that ends in ``#sha256=…`` are kept."""
    url, _, fragment = weights.partition("#")
    digest = fragment.partition("=")[2].lower()
    file_name = re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rsplit("/", 1)[1])[-100:]
    return keras_home() / "models" / f"{digest[:16]}-{file_name}"


def is_url(weights: str) -> bool:
    """Return whether weights are given by their address on the web."""
    return weights.lower().startswith(("http://", "https://"))


def random_weights() -> Weights:
    """Return what names random weights: another Keras may draw others from the same seed."""
    return Weights(f"random, seed 0, keras {importlib.metadata.version('keras')}", None)


def weights_in_file(path: Path, network: str) -> Weights:
    """Return the weights in a file.

    Raises
    ------
    WeightsNotFoundError
        It cannot be read.
    """
    try:
        return Weights(file_digests(path)["sha256"], path)
    except OSError as error:
        raise WeightsNotFoundError(
            f"Cannot read the weights {str(path)!r} for {network!r}: {error.strerror}. Pass 'imagenet', None, an "
            "address with its SHA-256, or the path of a .weights.h5 or .h5 file of this network without its head."
        ) from error


def fetched_from_keras(url: str, expected: str, network: str) -> Weights:
    """Return ImageNet weights from Keras's own folder, put there by us if they are not there yet.

    Parameters
    ----------
    url : str
    expected : str
        MD5 or SHA-256 in hex that Keras names; "" where it names none.
    network : str
        Its name, for messages.

    Raises
    ------
    WeightsNotFoundError
        They cannot be had.
    WeightsError
        The file is altered or damaged.
    """
    path = path_of_keras(url)
    if not path.is_file():
        _fetch(url, path, expected, f"The ImageNet weights of {network!r} are not on this machine, and", network)
    found = weights_in_file(path, network)
    kind = "sha256" if len(expected) == 64 else "md5"
    if expected and not is_of_keras(path, expected):
        raise WeightsError(
            f"The weights {str(path)!r} of {network!r} are altered, damaged or another file: expected "
            f"{'SHA-256' if kind == 'sha256' else 'MD5'} {expected}, got {file_digests(path)[kind]}. Put the right "
            "file there, or delete it: it is then fetched again."
        )
    return found


def fetched_from_url(weights: str, network: str) -> Weights:
    """Return weights at an address that ends in ``#sha256=…``, which is fetched once.

    Raises
    ------
    WeightsNotFoundError
        They cannot be had, or are not those of this digest.
    WeightsError
        The address says no digest.
    """
    url, _, fragment = weights.partition("#")
    name, _, digest = fragment.partition("=")
    if name.lower() != "sha256" or not _HEX.fullmatch(digest):
        raise WeightsError(
            f"The weights at {url!r} need their SHA-256, so that a row means the same tomorrow: write "
            f"'{url}#sha256=…' with its 64 hex digits (sha256sum FILE prints them)."
        )
    digest = digest.lower()
    if not path_of_url(weights).name.endswith(".h5"):
        raise WeightsError(
            f"The weights at {url!r} are not called .weights.h5 or .h5, by which Keras knows how to read them. Give "
            "them such a name there, or fetch them yourself and pass the path of the file."
        )
    path = path_of_url(weights)
    if not path.is_file():
        _fetch(url, path, digest, f"The weights of {network!r} are not on this machine, and", network)
    found = weights_in_file(path, network)
    if found.digest != digest:
        raise WeightsError(
            f"The weights {str(path)!r} of {network!r} are altered, damaged or another file: expected SHA-256 "
            f"{digest}, got {found.digest}. Put the right file there, or delete it: it is then fetched again."
        )
    return found


def is_of_keras(path: Path, expected: str) -> bool:
    """Return whether a file has the MD5 or SHA-256, in hex, that Keras expects of its own."""
    return bool(expected) and expected in file_digests(path).values()


def _fetch(url: str, path: Path, expected: str, lead: str, network: str) -> None:
    task = {"url": url, "path": str(path), "hash": expected}
    try:
        _log.info("Fetching the weights of %s from %s …", network, url)
        remedy = "Install tensorflow anew: pip install --force-reinstall tensorflow."
        run_child("featx.backbones.workers.download", task, f"fetching the weights of {network!r}", remedy)
    except WeightsNotFoundError as error:
        proxy = " It went through the proxy that the environment names." if _has_proxy(url) else ""
        absent = " The server has no such file: check the address." if ": 404 " in str(error) else ""
        other = "" if network == "mobilenet" else "; or use 'mobilenet', whose weights come with featx"
        raise WeightsNotFoundError(
            f"{lead} fetching them failed ({error}).{proxy}{absent} Download {url} elsewhere, and put it at "
            f"{str(path)!r} or pass its path as weights{other}."
        ) from error
    except WeightsError as error:
        raise WeightsError(
            f"The server sent another file than the weights of {network!r} for {url}: {error}. It was not kept. Check "
            "the address and the digest (sha256sum FILE prints that of a file that is right), or pass the path of a "
            "file."
        ) from error


def _has_proxy(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.netloc)


def file_digests(path: Path) -> dict[str, str]:
    """Return SHA-256 and MD5 of a file, read once in a process while it does not change."""
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return _digests_in_state(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@functools.lru_cache(maxsize=16)
def _digests_in_state(path: Path, *state: int) -> dict[str, str]:
    digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while block := file.read(2**20):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}
