"""Extractors and modified model files for the tests of models."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from featx import FeatureExtractor
from featx.models.archive import checksum

Array = np.ndarray[Any, Any]


def extractor(**options: Any) -> FeatureExtractor:
    return FeatureExtractor("color_histogram", image_size=8, **options)


def rewritten(model: Path, path: Path, change: Any, *, digests: bool = False) -> Path:
    """A copy of a model whose files `change` has had its hands on; with `digests`, of the new files."""
    import hashlib

    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    ours = json.loads(members["featx.json"])
    if "checksum" in ours and ours["checksum"] is not None:
        ours["checksum"] = checksum(ours)
        members["featx.json"] = json.dumps(ours).encode()
    if digests:
        ours["files"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != "featx.json"
        }
        ours["checksum"] = checksum(ours)
        members["featx.json"] = json.dumps(ours).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def described(model: Path, path: Path, **changed: Any) -> Path:
    """A copy of a model with another description, whose checksum is right."""

    def change(members: dict[str, bytes]) -> None:
        members["featx.json"] = json.dumps({**json.loads(members["featx.json"]), **changed}).encode()

    return rewritten(model, path, change)
