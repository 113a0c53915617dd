"""The archive of a model file: an uncompressed zip file with a checksum of each member.

=====================  ==========================================================================
``featx.json``         format, card (with the SHA-256 of the graph), head, novelty threshold, and the SHA-256 of every
                       other member
``schema.json``, …     the pipeline, as skops writes it
``featx/….npy``        arrays of the head and of the novelty detector
``featx-network/…``    the network of a custom model file, if the pipeline uses one
``featx-graph/…``      the compiled graph of the network; read and verified when the network starts
=====================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.errors import ModelFileError
from featx.system.files import remote
from featx.system.files.atomic import open_regular_file
from featx.system.files.url_secrets import redact_secrets
from featx.system.version import __version__

#: Format of the archive; raised with every change of it.
FORMAT = 3
DESCRIPTION = "featx.json"
ARRAYS, NETWORK, GRAPH = "featx/", "featx-network/", "featx-graph/"
TRAINING_ROWS = f"{ARRAYS}training"
#: Signature and length of the last record of a zip file without a comment.
_END, _END_BYTES = b"PK\5\6", 22


def read_archive(path: Path, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the description and the other members of a model whose checksums are correct, without its graph.

    Raises
    ------
    ModelFileError
        The file cannot be read, is not a model, is corrupt or modified, or has another format.
    """
    try:
        with open_regular_file(path.resolve()) as file:
            if not zipfile.is_zipfile(file):
                raise _not_a_model(name, "it is not a zip archive, or is truncated")
            members = _read_members(name, file)
    except ModelFileError:
        raise
    except ValueError as error:
        raise _not_a_model(name, str(error)) from error
    except OSError as error:
        if remote.is_url(name):
            raise ModelFileError(
                f"Cannot read model {redact_secrets(name)!r}: a model must be a local file. Download it, and pass its "
                "path."
            ) from error
        raise ModelFileError(
            f"Cannot read model {name!r}: {error.strerror or error}. Check the path and its permissions, or create a "
            f"model with `featx train PHOTOS -o {name}`."
        ) from error
    return _check_members(name, members)


def is_model(path: Path) -> bool:
    """Return whether the content of a file is that of a model of any format."""
    try:
        with zipfile.ZipFile(path) as archive:
            return DESCRIPTION in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def pack(members: Mapping[str, bytes], description: Mapping[str, Any], graph: Mapping[str, bytes]) -> bytes:
    """Return an archive of members, of a graph, and of a description with the checksums of the members."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    full = {"format": FORMAT, "files": digests, **description}
    return zip_members({DESCRIPTION: json.dumps({**full, "checksum": checksum(full)}).encode(), **members, **graph})


def zip_members(members: Mapping[str, bytes]) -> bytes:
    """Return an uncompressed zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unzip(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip archive, for example of one that skops wrote."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _check_members(name: str, members: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        description: dict[str, Any] = json.loads(members.pop(DESCRIPTION))
        version, digests = description["format"], dict(description["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise corrupt(name, "its description is invalid") from error
    if version != FORMAT:
        is_newer = isinstance(version, int) and version > FORMAT
        remedy = "Install a newer version of featx" if is_newer else "Train the model again: featx train"
        raise ModelFileError(
            f"Cannot load model {name!r}: expected format {FORMAT} of this version of featx ({__version__}), got "
            f"{version}. {remedy}."
        )
    if description.get("checksum") != checksum(description):
        raise corrupt(name, "its description was modified")
    actual = {member: hashlib.sha256(content).hexdigest() for member, content in members.items()}
    if actual != digests:
        differing = sorted(member for member in {**actual, **digests} if actual.get(member) != digests.get(member))
        raise corrupt(name, _describe_difference(differing[0], actual, digests))
    return description, members


def _read_members(name: str, file: io.FileIO) -> dict[str, bytes]:
    """Return all members but those of the graph."""
    try:
        file.seek(-_END_BYTES, os.SEEK_END)
        end = file.read(_END_BYTES) or b""
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if DESCRIPTION not in names:
                raise ModelFileError(
                    f"Cannot load model {name!r}: it has no {DESCRIPTION}. If it is a skops file of another program, "
                    "load it with skops.io.load and write it with featx.save_pipeline."
                )
            if len(set(names)) < len(names) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise corrupt(name, "its members are duplicated or compressed")
            if end[:4] != _END or min(info.header_offset for info in infos):
                raise corrupt(name, "bytes of the archive were changed or added")
            return {info.filename: archive.read(info) for info in infos if not info.filename.startswith(GRAPH)}
    except ModelFileError:
        raise
    # The reasons of zipfile ("negative seek value", "Bad magic number") do not help the user.
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise corrupt(name, "bytes of the archive were changed, and its members cannot be read") from error


def _describe_difference(member: str, found: Mapping[str, str], digests: Mapping[str, str]) -> str:
    part = "its scikit-learn pipeline"
    if member.startswith(TRAINING_ROWS):
        part = "the features of its training images"
    elif member.startswith(ARRAYS):
        part = "an array of its head"
    elif member.startswith(NETWORK):
        part = "its network"
    if member not in found:
        return f"a file of {part} is missing"
    return f"{part} was modified" if member in digests else f"the file {member!r} was added"


def checksum(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a description. It detects changes; it is not a signature."""
    fields = {name: value for name, value in description.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def corrupt(name: str, reason: str) -> ModelFileError:
    """Return the error of a model that is not what was written."""
    return ModelFileError(
        f"Cannot load model {name!r}: the file is corrupt or was modified: {reason}. Restore it from a copy, or train "
        "the model again."
    )


def _not_a_model(name: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"Cannot load model {name!r}: {reason}. Pass a file that `featx train` or featx.save_pipeline wrote."
    )
