"""A custom model file on disk: its format, its parts, and the digest that identifies it."""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import re
from pathlib import Path
from typing import Any

from featx.backbones.digests import file_digests, sha256_of
from featx.backbones.files.archived_network import find_archived
from featx.backbones.files.display_name import display_name
from featx.backbones.files.model_cache import cached_model_digest
from featx.errors import UnknownBackboneError, WeightsError

#: Format of a file by its suffix. The fourth format, "saved model", is a folder.
KINDS = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx", ".xml": "openvino"}
#: Begins the address of a file of the Hugging Face Hub.
HUB_PREFIX = "hf://"
#: Remedy for a missing file of weights, by format.
_MISSING_WEIGHTS_REMEDY = {
    "onnx": "Copy it into the same folder, or export the network with embedded weights (external_data=False).",
    "openvino": "Copy it next to the .xml file, under the same name.",
}
_VARINT = rb"[\x80-\xff][\x01-\x7f]|[\x01-\x7f]"  # protobuf's encoding of numbers of up to 14 bits
#: In an ONNX file, what precedes the name of a file of weights: the tag of an entry of ``TensorProto.external_data``
#: (metadata may have the same key), its length, its key, and the length of the name.
_EXTERNAL_DATA = re.compile(rb"\x6a(?:%b)\n\x08location\x12(%b)" % (_VARINT, _VARINT), re.DOTALL)
#: Revision of how layers are listed and graphs are built, part of the digest. Increase it whenever rows change.
REVISION = 4


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """Custom model file as it was when it was opened.

    Attributes
    ----------
    path : str
        Path of the file, or of the folder of a SavedModel.
    kind : {"keras", "saved model", "onnx", "openvino"}
        Format of the file.
    digest : str
        SHA-256 in hexadecimal of all parts of the network and of how featx reads them.
    """

    path: str
    kind: str
    digest: str

    @classmethod
    def open(cls, path: str, *, revision: int = REVISION) -> ModelSource:
        """Return the file at a path; its contents are hashed but not parsed.

        Parameters
        ----------
        path : str
            Path of the file, or of the folder of a SavedModel.
        revision : int, default=REVISION
            Revision of how featx reads files.

        Raises
        ------
        UnknownBackboneError
            If the file, or a part of it, cannot be read.
        WeightsError
            If an ``.xml`` file is not in OpenVINO's format.
        """
        file = expand_user(path)
        kind = KINDS.get(file.suffix, "saved model")
        try:
            archived = find_archived(str(file))
            content = archived.sha256 if archived else cached_model_digest(file) or _digest_of_parts(file, kind)
        except OSError as error:
            raise _unreadable(path, file, kind, error) from error
        return cls(str(file), kind, hashlib.sha256(f"{kind} {revision} {content}".encode()).hexdigest())

    def parts(self) -> list[Path]:
        """Return the paths of all files that the network consists of."""
        return _parts(self.on_disk(), self.kind)

    def on_disk(self) -> Path:
        """Return the path of the file or folder. A network in a model file is written to the cache, if it is not yet.

        Raises
        ------
        WeightsError, StoreError, ResourceError
            The model file cannot be read, or the cache cannot be written.
        """
        archived = find_archived(self.path)
        return Path(self.path) if archived is None else archived.restore()

    def check_unchanged(self) -> None:
        """Raise WeightsError if the file is not what it was when it was opened."""
        if ModelSource.open(self.path).digest != self.digest:
            raise WeightsError(f"Network {display_name(self.path)} changed during the run. Run it again.")

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to read the network, as plain JSON types."""
        return {"model_file": {**dataclasses.asdict(self), "path": os.path.abspath(self.on_disk())}}

    @property
    def is_single_file(self) -> bool:
        """Whether the network is a single portable file."""
        if find_archived(self.path) is not None:
            return True
        return self.kind == "keras" or (self.kind == "onnx" and not external_data(Path(self.path)))

    def single_file(self) -> tuple[str, bytes] | None:
        """Return the name and content of a network that is a single portable file; None for any other."""
        return (Path(self.path).name, self.on_disk().read_bytes()) if self.is_single_file else None


def is_model_path(backbone: str) -> bool:
    """Return whether a backbone is given as the path of a model file instead of by name."""
    if backbone.startswith(HUB_PREFIX):
        return False
    try:
        return backbone.endswith(tuple(KINDS)) or (expand_user(backbone) / "saved_model.pb").is_file()
    except OSError:  # a name too long for a file, for example
        return False


def model_path_problem(path: str) -> str:
    """Return why the file or folder at a path is not a model file, with a leading space; empty if nothing is there."""
    file = expand_user(path)
    try:
        if file.is_dir():
            return f" The folder {path!r} is not a SavedModel: it has no saved_model.pb."
        if file.is_file():
            return f" The format of the file {path!r} is not supported: expected {', '.join(KINDS)}, or a SavedModel."
    except OSError:  # a name too long for a file, for example
        pass
    return ""


def expand_user(path: str) -> Path:
    """Return a path with ``~`` expanded where that is possible."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or no home folder
        return Path(path)


def _unreadable(path: str, file: Path, kind: str, error: OSError) -> UnknownBackboneError:
    reason = error.strerror or error
    if error.filename and kind in _MISSING_WEIGHTS_REMEDY and str(error.filename) != str(file):
        return UnknownBackboneError(
            f"Cannot read network {path!r} without {Path(error.filename).name!r}, which holds its weights: {reason}. "
            f"{_MISSING_WEIGHTS_REMEDY[kind]}"
        )
    part = f"{str(error.filename)!r}: " if error.filename and str(error.filename) not in (path, str(file)) else ""
    return UnknownBackboneError(
        f"Cannot read network {path!r}: {part}{reason}. Check the path; `featx backbones` lists the built-in backbones."
    )


def _parts(path: Path, kind: str) -> list[Path]:
    if kind == "saved model":
        return sorted(part for part in path.rglob("*") if not part.is_dir())
    if kind == "openvino":
        _check_openvino_xml(path)
        return [path, path.with_suffix(".bin")]
    return [path, *external_data(path)] if kind == "onnx" else [path]


def _digest_of_parts(path: Path, kind: str) -> str:
    """Return the SHA-256 of all files of a network."""
    parts = _parts(path, kind)
    digests = [sha256_of(part) for part in parts]
    if len(parts) == 1:
        return digests[0]
    # A moved network is the same network: names are relative to its folder, and a single file may have any name.
    names = [
        part.relative_to(path).as_posix() if kind == "saved model" else str(number) for number, part in enumerate(parts)
    ]
    listing = "".join(f"{name}\0{digest}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def _check_openvino_xml(path: Path) -> None:
    file_digests(path)  # raises if it is not a regular file
    with open(path, "rb") as file:
        if b"<net" not in file.read(4096):
            raise WeightsError(
                f"{str(path)!r} is not a network in OpenVINO's format: no <net> at its beginning. Pass the .xml file "
                "that openvino.save_model wrote, with its .bin file next to it."
            )


def external_data(path: Path) -> list[Path]:
    """Return the files next to an ONNX file that hold its weights."""
    file_digests(path)  # raises if it is not a regular file
    if not path.stat().st_size:  # cannot be mapped; reading the network reports the problem
        return []
    names = set()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _EXTERNAL_DATA.finditer(data):
            length = match[1][0] if len(match[1]) == 1 else (match[1][0] & 0x7F) | match[1][1] << 7
            names.add(data[match.end() : match.end() + length].decode("utf-8", "surrogateescape"))
    outside = [name for name in names if os.path.isabs(name) or ".." in Path(name).parts]
    if outside:
        raise UnknownBackboneError(
            f"Network {str(path)!r} has weights outside of its folder: {outside[0]!r}. Export it with embedded "
            "weights, or with the weights next to it."
        )
    return [path.parent / name for name in sorted(names)]
