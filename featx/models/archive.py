"""The archive that a model is: its parts, each as it was written, and what is said of one that is not."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.errors import ModelFileError
from featx.system.files.atomic import open_regular_file
from featx.system.version import __version__

#: Format of the file; raised with every change of the layout.
FORMAT = 2
DESCRIPTION = "featx.json"
ARRAYS, NETWORK = "featx/", "featx-network/"
#: How the last record of an archive without a comment begins, and how long it is.
_END, _END_BYTES = b"PK\5\6", 22
_TRAINING = f"{ARRAYS}training"


def read_archive(path: Path, name: str) -> bytes:
    """Return the bytes of a file that is an archive.

    Raises
    ------
    ModelFileError
        It is none, or cannot be read.
    """
    try:
        with open_regular_file(path.resolve()) as file:
            if not zipfile.is_zipfile(file):
                raise ModelFileError(
                    f"{name!r} is no model of featx: it is no archive, or cut off. `featx train` writes one."
                )
            file.seek(0)
            return file.readall() or b""
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{name!r} is no model of featx: {error}. `featx train` writes one.") from error
    except OSError as error:
        raise ModelFileError(
            f"The model {name!r} cannot be read: {error.strerror or error}. `featx train PHOTOS -o {name}` writes one."
        ) from error


def is_model(path: Path) -> bool:
    """Return whether a file is a model, by what it holds."""
    try:
        with zipfile.ZipFile(path) as packed:
            return DESCRIPTION in packed.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def pack(members: Mapping[str, bytes], description: Mapping[str, Any]) -> bytes:
    """Return an archive of parts and of a description, which vouches for them."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    ours = {"format": FORMAT, "files": digests, **description}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(DESCRIPTION, json.dumps({**ours, "checksum": checksum(ours)}))
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def parts_of(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive of skops's."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpack(name: str, data: bytes) -> dict[str, bytes]:
    """Return the parts of a model, all of them as they were written.

    Raises
    ------
    ModelFileError
        It is no model, damaged, altered, or of another format.
    """
    members = _members(name, data)
    try:
        ours = json.loads(members[DESCRIPTION])
        version, digests = ours["format"], dict(ours["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(name, "its description cannot be understood") from error
    if version != FORMAT:
        raise ModelFileError(
            f"Cannot load model {name!r}: it has format {version}, this version of featx ({__version__}) reads format "
            f"{FORMAT}. Train the model again, or install the version of featx that wrote it."
        )
    if ours.get("checksum") != checksum(ours):
        raise damaged(name, "its description is not what was written")
    found = {member: hashlib.sha256(content).hexdigest() for member, content in members.items()}
    del found[DESCRIPTION]
    if found != digests:
        wrong = sorted(member for member in {**found, **digests} if found.get(member) != digests.get(member))
        raise damaged(name, _in_words(wrong[0], found, digests))
    return members


def _members(name: str, data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            listed = [info.filename for info in infos]
            if DESCRIPTION not in listed:
                raise ModelFileError(
                    f"{name!r} is no model of featx: it has no {DESCRIPTION}. If it is a file of skops's own, load it "
                    "with skops.io.load, and write it with featx.save_pipeline."
                )
            if len(set(listed)) < len(listed) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise damaged(name, "its parts are doubled, or compressed")
            if data[-_END_BYTES:][:4] != _END or min(info.header_offset for info in infos):
                raise damaged(name, "bytes of the archive have changed, or stand before or after it")
            return {info.filename: archive.read(info) for info in infos}
    except ModelFileError:
        raise
    # What zip says of it ("negative seek value", "Bad magic number") is of no use to who has trained it.
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise damaged(name, "bytes of the archive have changed, and its parts are not found") from error


def _in_words(member: str, found: Mapping[str, str], digests: Mapping[str, str]) -> str:
    what = "its scikit-learn pipeline"
    if member.startswith(_TRAINING):
        what = "what it knows of its training images"
    elif member.startswith(ARRAYS):
        what = "a number that it decides by"
    elif member.startswith(NETWORK):
        what = "the network within it"
    if member not in found:
        return f"a part of {what} is missing"
    return f"{what} is not what was written" if member in digests else f"{member!r} was added to it"


def checksum(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a description: it tells of changes, but is no signature."""
    rest = {name: value for name, value in description.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def damaged(name: str, reason: str) -> ModelFileError:
    """Return the error that says what is wrong with a model."""
    return ModelFileError(f"The model {name!r} is damaged, or was altered: {reason}. Take a copy, or train it anew.")
