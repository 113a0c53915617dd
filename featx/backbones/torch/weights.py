"""Weights of networks of torch: a local checkpoint, or a file of the hub or of the library's own server."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from featx.backbones.base import Weights
from featx.backbones.digests import sha256_of
from featx.backbones.download import download_weights
from featx.backbones.hub.licenses import show_license_once
from featx.backbones.hub.repository import find_file, is_downloaded, repository_license
from featx.backbones.torch.description import Configuration
from featx.backbones.torch.names import LIBRARIES, TorchName
from featx.backbones.weights import is_url, local_weights
from featx.errors import MissingDependencyError, OptionError, UnknownBackboneError, WeightsNotFoundError
from featx.system.terminal.progress import announce

_EXPECTED = (
    "'imagenet' for those that the name states, None (--weights none) for random ones, or the path of a .safetensors "
    "or .pth file of this network"
)
#: The beginning of the SHA-256 in the name of a file.
_HASH = re.compile(r"-([0-9a-f]{8,64})\.")


def find_weights(weights: str, configuration: Configuration, source: TorchName) -> Weights:
    """Return weights from a local checkpoint, or those that a name states, after a download if necessary.

    Parameters
    ----------
    weights : str
        ``"imagenet"`` for those that the name states, or the path of a file.
    configuration : Configuration
        Where they are.
    source : TorchName
        Name of the network.

    Raises
    ------
    WeightsNotFoundError
        If the file does not exist or cannot be downloaded.
    WeightsError
        If the file is corrupt, or `weights` is a URL.
    """
    name = configuration.name
    if is_url(weights):
        raise OptionError(
            f"weights (--weights) of {name!r} cannot be a URL, got {weights!r}. Download it, and pass its path."
        )
    if weights != "imagenet":
        return local_weights(Path(weights).expanduser(), name, _EXPECTED)
    if configuration.repository:
        revision = source.revision or None
        path = find_file(configuration.repository, configuration.files, name, revision)
        license_name = configuration.license or repository_license(configuration.repository, name)
        show_license_once(name, license_name, configuration.origin)
    elif configuration.url:
        path = _download(configuration.url, name)
        show_license_once(name, configuration.license, configuration.origin)
    else:
        raise UnknownBackboneError(
            f"{name!r} names no weights. Append them ({source.text}{LIBRARIES[source.library][2]}WEIGHTS; `featx "
            f"backbones --search {source.model}` lists them), or pass the path of a checkpoint as weights (--weights)."
        )
    return Weights(sha256_of(path), path)


def has_local_weights(configuration: Configuration, revision: str = "") -> bool:
    """Return whether the weights that a name states are on this machine."""
    if configuration.repository:
        with contextlib.suppress(MissingDependencyError):
            return is_downloaded(configuration.repository, configuration.files, configuration.name, revision or None)
        return False
    return bool(configuration.url) and _downloaded_path(configuration.url).is_file()


def _downloaded_path(url: str) -> Path:
    return torch_folder() / url.rsplit("/", 1)[1]


def torch_folder() -> Path:
    """Return the folder in which torch keeps its downloads."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def _download(url: str, name: str) -> Path:
    path = _downloaded_path(url)
    if path.is_file():
        return path
    match = _HASH.search(path.name)

    def check(file: Path) -> None:
        if match and not sha256_of(file).startswith(match[1]):
            raise ValueError(f"expected a SHA-256 that begins with {match[1]}, got {sha256_of(file)[:16]}")

    try:
        announce(f"Downloading the weights of {name} from {url}.")
        download_weights(url, path, "", check, "TORCH_HOME")
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(
            f"Cannot download the weights of {name!r}: {error}. Download {url} on another machine and save it as "
            f"{str(path)!r}, or pass its path as weights (--weights)."
        ) from error
    return path
