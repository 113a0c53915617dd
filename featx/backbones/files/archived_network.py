"""Networks in model files: known by their checksum, and written to the user's cache folder when they must be read."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from featx.backbones.files.display_name import network_cache_folder
from featx.backbones.files.model_cache import cache_model_file, cached_file
from featx.errors import WeightsError
from featx.system.files.atomic import open_regular_file
from featx.system.formatting import first_line


@dataclasses.dataclass(frozen=True)
class ArchivedNetwork:
    """A custom model file in a model file.

    Attributes
    ----------
    model : str
        Path of the model file.
    member : str
        Its name in the archive.
    sha256 : str
        SHA-256 of its content in hexadecimal.
    descriptions : dict
        Result of :func:`featx.backbones.files.network_file.describe_for_models`.
    """

    model: str
    member: str
    sha256: str
    descriptions: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the custom model file."""
        return PurePosixPath(self.member).name

    @property
    def path(self) -> str:
        """Path at which the network is known, whether it was written there or not."""
        return str(network_cache_folder() / "files" / self.sha256 / self.name)

    def restore(self) -> Path:
        """Return the path of a file with the network in the cache, and write the file if it does not exist.

        Raises
        ------
        WeightsError
            The model file is gone, or was changed.
        StoreError, ResourceError
            The file cannot be written.
        """
        if (path := cached_file(self.sha256, self.name)) is not None:
            return path
        try:
            with open_regular_file(Path(self.model)) as file, zipfile.ZipFile(file) as archive:
                data = archive.read(self.member)
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise self._error(reason) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise self._error("the file was changed after it was read")
        return cache_model_file(data, self.name)

    def _error(self, reason: str) -> WeightsError:
        return WeightsError(f"Cannot read the network in model {self.model!r}: {reason}. Restore the file from a copy.")


_known: dict[str, ArchivedNetwork] = {}


def add_archived(network: ArchivedNetwork) -> None:
    """Let this process find a network by its path."""
    _known[network.path] = network


def find_archived(path: str) -> ArchivedNetwork | None:
    """Return the network of a model file that has a path; None for other paths."""
    return _known.get(path)
