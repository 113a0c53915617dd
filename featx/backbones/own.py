"""A network in a file of the user's own: Keras's formats, a SavedModel, ONNX or OpenVINO's."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx import files
from featx.backbones.base import Network, Weights
from featx.backbones.layers import LayerInfo, as_layers, find_layers
from featx.children import run_child
from featx.errors import OptionError, StoreError, UnknownBackboneError
from featx.recipe import Recipe

#: What a file holds, by its suffix.
KINDS = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx", ".xml": "openvino"}
#: In the place of a network's name in a recipe: the digest of the file tells which it is, wherever it lies.
RECORDED = "own network"
_SHA_256 = re.compile(r"[0-9a-f]{64}")
#: Revision of how layers are listed and graphs are made of such files.
_REVISION = 1


def is_own(backbone: str) -> bool:
    """Return whether a backbone is given as a file or a folder rather than by name."""
    return backbone.lower().endswith(tuple(KINDS)) or (Path(backbone) / "saved_model.pb").is_file()


def own_network(path: str) -> OwnNetwork:
    """Return the network in a file; what is in it is looked at when it is asked for.

    Raises
    ------
    UnknownBackboneError
        There is no such file, or it cannot be read.
    """
    at = Path(path).expanduser()
    kind = KINDS.get(at.suffix.lower(), "saved model")
    try:
        return OwnNetwork(str(at), kind, _digest(at, kind))
    except OSError as error:
        raise UnknownBackboneError(
            f"The network {path!r} cannot be read: {str(error.filename or path)!r}: {error.strerror or error}. Check the "
            "path; networks that featx knows by name are listed by `featx backbones`."
        ) from error


def as_name(backbone: Any) -> str:
    """Return a backbone as a string: its name, its path, or where a ``keras.Model`` object is kept as a file.

    Raises
    ------
    StoreError
        The object cannot be kept.
    """
    if isinstance(backbone, str | os.PathLike):
        return os.fspath(backbone)
    return str(_keep(backbone))


def _keep(model: Any) -> Path:
    """Return a file that holds a ``keras.Model``, in a folder that is named by what the model is."""
    digest = hashlib.sha256()
    # Keras numbers names by what else was built in the process: the same network is to have the same digest.
    digest.update(re.sub(r'_\d+"', '"', model.to_json()).encode())
    for value in model.get_weights():
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    path = _kept() / digest.hexdigest() / f"{re.sub(r'_[0-9]+$', '', model.name)}.keras"
    if not path.exists():
        try:
            files.make_folder(path.parent)
            with files.replacing(path) as temporary:
                saved = temporary.with_suffix(".keras")
                model.save(saved)
                os.replace(saved, temporary)
        except OSError as error:
            raise StoreError(
                f"The network {model.name!r} cannot be kept in {str(path.parent)!r}: {error.strerror or error}. Make "
                "room there, or name another folder in the variable XDG_CACHE_HOME; or save it yourself, and pass its "
                "path."
            ) from error
    return path


def _digest(path: Path, kind: str) -> str:
    if path.parent.parent == _kept() and _SHA_256.fullmatch(path.parent.name):
        return path.parent.name  # of an object, which no file is the same of twice
    parts = [path]
    if kind == "saved model":
        parts = sorted(one for one in path.rglob("*") if one.is_file())
    elif kind == "openvino":
        parts = [path, path.with_suffix(".bin")]
    states = [os.stat(part) for part in parts]
    names = tuple(part.relative_to(path.parent).as_posix() if len(parts) > 1 else "" for part in parts)
    stamps = tuple((state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino) for state in states)
    return _digest_in_state(tuple(parts), names if kind == "saved model" else (), stamps)


@functools.lru_cache(maxsize=16)
def _digest_in_state(parts: tuple[Path, ...], names: tuple[str, ...], stamps: object) -> str:
    whole = hashlib.sha256()
    for at, part in enumerate(parts):
        with open(part, "rb") as file:
            one = hashlib.file_digest(file, "sha256")
        if len(parts) == 1:
            return one.hexdigest()
        # A folder that was moved holds the same network, so names are those within it.
        inner = names[at].partition("/")[2] if names else str(at)
        whole.update(f"{inner}\0{one.hexdigest()}\n".encode())
    return whole.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Description:
    """What is known of a network at one size.

    Attributes
    ----------
    fixed_size : (int, int) or None
        The only height and width that it takes, if it takes one only.
    layers : tuple of LayerInfo
        The last is the output.
    """

    fixed_size: tuple[int, int] | None
    layers: tuple[LayerInfo, ...]


@dataclasses.dataclass(frozen=True)
class OwnNetwork(Network):
    """A network in a file.

    Attributes
    ----------
    path : str
        Of the file; of a SavedModel, the folder.
    kind : {"keras", "saved model", "onnx", "openvino"}
    digest : str
        SHA-256 in hex of all that it consists of.
    """

    path: str
    kind: str
    digest: str

    is_own = True

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """The file's name without its suffix."""
        return Path(self.path).stem

    @property
    def recorded_name(self) -> str:
        """What a recipe calls it."""
        return RECORDED

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only height and width that it takes; None if it takes others, too."""
        return _describe(self, None).fixed_size

    @property
    def image_size(self) -> int | None:  # type: ignore[override]  # a file need not say it
        """The side of the images that it takes, where it says one."""
        fixed = self.fixed_size
        return fixed[0] if fixed and fixed[0] == fixed[1] else None

    @property
    def layer(self) -> str:  # type: ignore[override]  # read only
        """Name of the layer whose output is the network's."""
        return _describe(self, None).layers[-1].name

    def n_features(self, pooling: str) -> int:
        """Return the length of a row of the network's output; OptionError if it depends on a size that is not said."""
        return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers, at a size."""
        return _describe(self, image_size).layers

    def find_weights(self, weights: str) -> Weights:
        """Return the file itself, which holds them.

        Raises
        ------
        OptionError
            Others are asked for.
        """
        if weights != "imagenet":
            raise OptionError(f"weights={weights!r} beside {self.path!r}, which holds its own. Leave weights out.")
        return Weights(self.digest, Path(self.path))

    def compiled_layers(self, wanted: Sequence[str]) -> list[str]:
        """Return the layers that are compiled together: those that are wanted."""
        return list(wanted)

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to know of it."""
        return {"own": {**dataclasses.asdict(self), "path": os.path.abspath(self.path)}}

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Raises
        ------
        OptionError
            It is no network of Keras.
        """
        from featx.backbones import keras_files

        if self.kind != "keras":
            raise OptionError(f"engine='keras' cannot run {self.path!r}. Leave engine out, or pass engine='openvino'.")
        return keras_files.build(self, recipe)


def _describe(network: OwnNetwork, size: tuple[int, int] | None) -> _Description:
    return _described(network, size)


@functools.lru_cache(maxsize=32)
def _described(network: OwnNetwork, size: tuple[int, int] | None) -> _Description:
    """Return what is in a network: from where it was kept, or by a child process, which takes seconds for Keras's."""
    kept = _kept() / f"{network.digest[:32]}-{'x'.join(map(str, size or ('own',)))}-{_REVISION}.json"
    try:
        return _as_description(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not looked at yet, or damaged: it is looked at (again)
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        file = Path(folder) / "description.json"
        task = {**network.as_task(), "image_size": size and list(size), "file": str(file)}
        remedy = "Is it a whole network, of a version that the installed tensorflow and openvino know?"
        run_child("featx.engines.describing", task, f"reading the network {network.path!r}", remedy)
        text = file.read_text(encoding="utf-8")
    try:
        files.make_folder(kept.parent)
        files.write_text(kept, text)
    except OSError:
        pass  # the next process looks at it again
    return _as_description(json.loads(text))


def _as_description(found: dict[str, Any]) -> _Description:
    size = found["fixed_size"]
    return _Description((size[0], size[1]) if size else None, as_layers(found["layers"]))


def _kept() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "featx" / "networks"
