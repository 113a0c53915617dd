"""Weights of networks: found on this machine or downloaded, and checked. Keras reads what they contain."""

from __future__ import annotations

import importlib.metadata
import os
import re
import urllib.parse
import urllib.request
from pathlib import Path

from featx.backbones.base import Weights
from featx.backbones.digests import file_digests, hash_name, sha256_of
from featx.backbones.download import download_weights
from featx.errors import WeightsError, WeightsNotFoundError, redact_secrets
from featx.system.files.temporary import temporary_place
from featx.system.terminal.progress import announce

#: Value of the option ``weights`` for the random weights that training starts from.
RANDOM = "none"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


def keras_home() -> Path:
    """Return the folder in which Keras keeps its downloads."""
    if os.environ.get("KERAS_HOME"):
        return Path(os.environ["KERAS_HOME"])
    try:
        return Path.home() / ".keras"
    except RuntimeError:  # no home folder: Keras uses the temporary folder
        return temporary_place() / ".keras"


def keras_cache_path(url: str) -> Path:
    """Return the path under which Keras keeps the download of a URL."""
    return keras_home() / "models" / url.rsplit("/", 1)[1]


def url_cache_path(weights: str) -> Path:
    """Return the path of downloaded weights whose URL ends in ``#sha256=…``."""
    url, _, fragment = weights.partition("#")
    digest = fragment.partition("=")[2].lower()
    file_name = re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rsplit("/", 1)[1])[-100:]
    return keras_home() / "models" / f"{digest[:16]}-{file_name}"


def is_url(weights: str) -> bool:
    """Return whether weights are specified by a URL."""
    return weights.lower().startswith(("http://", "https://"))


def random_weights() -> Weights:
    """Return the identity of random weights: other versions of Keras may draw others from the same seed."""
    return Weights(f"random, seed 0, keras {importlib.metadata.version('keras')}", None)


#: What the option may be set to for a network of Keras.
_KERAS_WEIGHTS = (
    "'imagenet', None, a URL with its SHA-256, or the path of a .weights.h5 or .h5 file of this network without its "
    "head"
)


def local_weights(path: Path, network: str, expected: str = _KERAS_WEIGHTS) -> Weights:
    """Return the weights in a file.

    Parameters
    ----------
    path : Path
        Path of the file.
    network : str
        Name of the network, for error messages.
    expected : str
        Valid values of the option, for error messages.

    Raises
    ------
    WeightsNotFoundError
        If the file cannot be read.
    """
    try:
        return Weights(sha256_of(path), path)
    except OSError as error:
        raise WeightsNotFoundError(
            f"Cannot read weights {str(path)!r} of backbone {network!r}: {error.strerror}. Set weights (--weights) to "
            f"{expected}."
        ) from error


def imagenet_weights(url: str, expected_hash: str, network: str) -> Weights:
    """Return ImageNet weights from the folder of Keras, after a download if necessary.

    Parameters
    ----------
    url : str
        Address of the weights.
    expected_hash : str
        MD5 or SHA-256 in hexadecimal that Keras publishes, or "".
    network : str
        Name of the network, for error messages.

    Raises
    ------
    WeightsNotFoundError
        If the weights cannot be downloaded.
    WeightsError
        If the file is corrupt.
    """
    path = keras_cache_path(url)
    if not path.is_file():
        _download(url, path, expected_hash, f"the ImageNet weights of backbone {network!r}", network)
    weights = local_weights(path, network)
    _check_hash(path, expected_hash, network)
    return weights


def weights_from_url(weights: str, network: str) -> Weights:
    """Return weights from a URL that ends in ``#sha256=…``, after a download if necessary.

    Raises
    ------
    WeightsNotFoundError
        If the weights cannot be downloaded.
    WeightsError
        If the URL has no digest or contains a secret, or the file has another digest.
    """
    if redact_secrets(weights) != weights:  # model files, reports and commands would show it
        raise WeightsError(
            f"The URL of weights must not contain a password or token, got {redact_secrets(weights)!r}. Download the "
            "file and pass its path as weights (--weights)."
        )
    url, _, fragment = weights.partition("#")
    name, _, digest = fragment.partition("=")
    if name.lower() != "sha256" or not _SHA256.fullmatch(digest):
        raise WeightsError(
            f"Weights from a URL need their SHA-256, got {weights!r}. Append '#sha256=' and the 64 hexadecimal digits "
            "that sha256sum FILE prints."
        )
    path = url_cache_path(weights)
    if not path.name.endswith(".h5"):
        raise WeightsError(
            f"The name of weights must end in .weights.h5 or .h5, got {url!r}. Rename the file on the server, or "
            "download it and pass its path."
        )
    if not path.is_file():
        _download(url, path, digest.lower(), f"the weights of backbone {network!r}", network)
    local = local_weights(path, network)
    _check_hash(path, digest.lower(), network)
    return local


def has_keras_hash(path: Path, expected_hash: str) -> bool:
    """Return whether a file has the MD5 or SHA-256 that Keras publishes for its weights."""
    return bool(expected_hash) and expected_hash in file_digests(path).values()


def _check_hash(path: Path, expected: str, network: str) -> None:
    kind = hash_name(expected)
    if expected and file_digests(path)[kind] != expected:
        raise WeightsError(
            f"Checksum mismatch in weights {str(path)!r} of backbone {network!r}: expected {kind} {expected}, got "
            f"{file_digests(path)[kind]}. Delete the file to download it again."
        )


def _download(url: str, path: Path, expected_hash: str, what: str, network: str) -> None:
    try:
        announce(f"Downloading {what} from {url}, once; the file is kept as {str(path)!r}.")
        download_weights(url, path, expected_hash)
    except WeightsNotFoundError as error:
        proxy = " The request used the proxy of the environment." if _uses_proxy(url) else ""
        response = getattr(error.__cause__, "response", None)
        missing = " Check the address." if getattr(response, "status_code", None) == 404 else ""
        bundled = "" if network == "mobilenet" else "; or use 'mobilenet', whose weights are part of featx"
        raise WeightsNotFoundError(
            f"Cannot download {what}: {error}.{proxy}{missing} Download {url} on another machine and save it as "
            f"{str(path)!r}, or pass its path as weights (--weights){bundled}."
        ) from error
    except WeightsError as error:
        raise WeightsError(
            f"Checksum mismatch in the download of {what} from {url}: {error}. The file was deleted. Check the address "
            "and the checksum (sha256sum FILE prints it), or pass the path of a file."
        ) from error


def _uses_proxy(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.netloc)


def check_local_weights(weights: str | os.PathLike[str] | None, model: str) -> None:
    """Raise an error if the weights of a model file are not on this machine: no file, or a URL not downloaded before.

    Raises
    ------
    WeightsNotFoundError
    """
    url = "" if weights is None else os.fspath(weights)
    if url not in ("", "imagenet") and not is_url(url) and not os.path.exists(os.path.expanduser(url)):
        raise WeightsNotFoundError(
            f"Cannot use model {model!r}: it needs its weights {url!r}, and there is no such file. Restore it, or use "
            "a model that holds its network (featx train without --no-graph)."
        )
    if is_url(url) and not url_cache_path(url).is_file():
        raise WeightsNotFoundError(
            f"Cannot use model {model!r}: its weights from {url!r} are not on this machine, and reading a model "
            f"downloads nothing. If you trust the URL, run FeatureExtractor(…, weights={url!r}).fit([])."
        )
