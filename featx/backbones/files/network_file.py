"""A network in a file of the user's own: Keras's formats, a SavedModel, ONNX or OpenVINO's."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import mmap
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones import weights as weight_files
from featx.backbones.base import NetworkBackbone, Weights
from featx.backbones.files import model_cache as kept_models
from featx.backbones.files.model_cache import display_name
from featx.backbones.layers import LayerInfo, as_layers, find_layers
from featx.errors import MissingDependencyError, OptionError, UnknownBackboneError, WeightsError
from featx.recipe import Recipe
from featx.system.child_process import run_child
from featx.system.files.atomic import make_folder, write_text

#: What a file holds, by its suffix.
KINDS = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx", ".xml": "openvino"}
#: In the place of a network's name in a recipe: the digest of the file tells which it is, wherever it lies.
MODEL_FILE = "model file"
#: Of networks whose weights are in a file of their own: what to do where that is missing.
_COMPANIONS = {
    "onnx": "Put it into the same folder, or export the network with its weights within (external_data=False).",
    "openvino": "Put it beside the .xml, under the same name.",
}
_NUMBER = rb"[\x80-\xff][\x01-\x7f]|[\x01-\x7f]"  # as protobuf writes those of up to 14 bits
#: In an ONNX file, before the name of a file that holds weights: that an entry of a tensor's ``external_data`` follows
#: (metadata may have the same key), its length, its key, and the length of the name.
_LOCATION = re.compile(rb"\x6a(?:%b)\n\x08location\x12(%b)" % (_NUMBER, _NUMBER), re.DOTALL)
#: Revision of how layers are listed and graphs are made of such files, part of what they are known by: raised whenever
#: that changes rows, so that old ones are left alone.
_REVISION = 3


def is_model_path(backbone: str) -> bool:
    """Return whether a backbone is given as a file or a folder rather than by name."""
    try:
        return backbone.endswith(tuple(KINDS)) or (_expanded(backbone) / "saved_model.pb").is_file()
    except OSError:  # a name too long for a file's, say
        return False


def open_network_file(path: str) -> NetworkFile:
    """Return the network in a file; what is in it is looked at when it is asked for.

    Raises
    ------
    UnknownBackboneError
        There is no such file, or it cannot be read.
    """
    at = _expanded(path)
    kind = KINDS.get(at.suffix, "saved model")
    try:
        return NetworkFile(str(at), kind, _digest(at, kind))
    except OSError as error:
        if error.filename and kind in _COMPANIONS and str(error.filename) != str(at):
            name = Path(error.filename).name
            raise UnknownBackboneError(
                f"The network {path!r} cannot be read without {name!r}, which holds its weights: "
                f"{error.strerror or error}. {_COMPANIONS[kind]}"
            ) from error
        raise UnknownBackboneError(
            f"The network {path!r} cannot be read: {str(error.filename or path)!r}: {error.strerror or error}. Check "
            "the path; networks that featx knows by name are listed by `featx backbones`."
        ) from error


def model_path_problem(path: str) -> str:
    """Return why what lies at a path is no network, as a sentence with a blank before it; "" if nothing lies there."""
    at = _expanded(path)
    try:
        if at.is_dir():
            return f" The folder {path!r} is no SavedModel: it has no saved_model.pb."
        if at.is_file():
            return (
                f" The file {path!r} is none of the kinds that are read: {', '.join(KINDS)}, or a SavedModel's folder."
            )
    except OSError:  # a name too long for a file's, say
        pass
    return ""


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or none that has a home
        return Path(path)


def as_backbone_name(backbone: Any) -> str:
    """Return a backbone as a string: its name, its path, or where a ``keras.Model`` object is kept as a file.

    Raises
    ------
    StoreError
        The object cannot be kept.
    """
    return os.fspath(backbone) if isinstance(backbone, str | os.PathLike) else str(kept_models.keep(backbone))


def _digest(path: Path, kind: str) -> str:
    """Return the SHA-256 of all that decides a network: what it consists of, and as what featx reads it."""
    content = kept_models.digest_of(path) or _digest_of_parts(path, kind)
    return hashlib.sha256(f"{kind} {_REVISION} {content}".encode()).hexdigest()


def _parts(path: Path, kind: str) -> list[Path]:
    """Return a network's file, and those that belong to it."""
    parts = [path]
    if kind == "saved model":
        parts = sorted(one for one in path.rglob("*") if not one.is_dir())
    elif kind == "openvino":
        _refuse_other_xml(path)
        parts = [path, path.with_suffix(".bin")]
    elif kind == "onnx":
        parts = [path, *_external_data(path)]
    return parts


def _digest_of_parts(path: Path, kind: str) -> str:
    """Return the SHA-256 of a network's file, and of those that belong to it."""
    parts = _parts(path, kind)
    digests = [weight_files.file_digests(part)["sha256"] for part in parts]
    if len(parts) == 1:
        return digests[0]
    # A network that was moved is the same, so names are those within its folder; that of a single file is its own.
    names = [part.relative_to(path).as_posix() if kind == "saved model" else str(at) for at, part in enumerate(parts)]
    listed = "".join(f"{name}\0{digest}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256(listed.encode()).hexdigest()


def _refuse_other_xml(path: Path) -> None:
    weight_files.file_digests(path)  # that it is a file
    with open(path, "rb") as file:
        if b"<net" not in file.read(4096):
            raise WeightsError(
                f"{str(path)!r} holds no whole network of OpenVINO: there is no <net> at its beginning. Pass the .xml "
                "that openvino.save_model wrote, with its .bin beside it."
            )


def _external_data(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights, as its entries ``location`` say."""
    weight_files.file_digests(path)  # that it is a file
    if not path.stat().st_size:  # which cannot be mapped; reading it says what is wrong
        return []
    names = set()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for found in _LOCATION.finditer(data):
            length = found[1][0] if len(found[1]) == 1 else (found[1][0] & 0x7F) | found[1][1] << 7
            names.add(data[found.end() : found.end() + length].decode("utf-8", "surrogateescape"))
    outside = [name for name in names if os.path.isabs(name) or ".." in Path(name).parts]
    if outside:
        raise UnknownBackboneError(
            f"The network {str(path)!r} keeps weights in {outside[0]!r}, outside of its folder. Export it with its "
            "weights within, or beside it."
        )
    return [path.parent / name for name in sorted(names)]


@dataclasses.dataclass(frozen=True)
class _Description:
    """What is known of a network at one size.

    Attributes
    ----------
    fixed_image_size : (int, int) or None
        The only height and width that it takes, if it takes one only.
    layers : tuple of LayerInfo
        The last is the output. None at all, if no size was said and none is known that it takes.
    layer : str
        Name of the layer whose output is the network's.
    takes : str
        The type of number that it takes: ``"float32"``.
    other_outputs : tuple of str
        Names of the layers whose outputs are the network's, too.
    """

    fixed_image_size: tuple[int, int] | None
    layers: tuple[LayerInfo, ...]
    layer: str
    takes: str
    other_outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class NetworkFile(NetworkBackbone):
    """A network in a file.

    Attributes
    ----------
    path : str
        Of the file; of a SavedModel, the folder.
    kind : {"keras", "saved model", "onnx", "openvino"}
    digest : str
        SHA-256 in hex of all that it consists of, and of how featx reads it.
    """

    path: str
    kind: str
    digest: str

    is_model_file = True

    @property
    def name(self) -> str:  # type: ignore[override]  # read only
        """The file's name without its suffix."""
        return Path(self.path).stem

    @property
    def recipe_name(self) -> str:
        """What a recipe calls it."""
        return MODEL_FILE

    @property
    def fixed_image_size(self) -> tuple[int, int] | None:
        """The only height and width that it takes; None if it takes others, too."""
        return _describe(self, None).fixed_image_size

    @property
    def image_size(self) -> int | None:  # type: ignore[override]  # a file need not say it
        """The side of the images that it takes, where it says one."""
        fixed = self.fixed_image_size
        return fixed[0] if fixed and fixed[0] == fixed[1] else None

    @property
    def layer(self) -> str:  # type: ignore[override]  # read only
        """Name of the layer whose output is the network's."""
        return _describe(self, None).layer

    @property
    def n_bytes(self) -> int:
        """Size of its files."""
        return sum(part.stat().st_size for part in _parts(Path(self.path), self.kind))

    @property
    def input_dtype(self) -> str:
        """The type of number that it takes, as numpy calls it."""
        return _describe(self, None).takes

    @property
    def other_outputs(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are the network's as well as that of `layer`."""
        return _describe(self, None).other_outputs

    def n_features(self, pooling: str) -> int:
        """Return the length of a row of the network's output, at the size that `layers` are listed at."""
        return find_layers(self.name, self.layers(), [self.layer])[0].n_features(pooling)

    def layers(self, image_size: tuple[int, int] | None = None) -> tuple[LayerInfo, ...]:
        """Return the layers, at a size.

        Parameters
        ----------
        image_size : (int, int) or None, default=None
            None is the size that it takes; if it takes several, 224 × 224, or the first usual one that it takes.

        Raises
        ------
        OptionError
            It does not take images of this size, or its file does not say of which.
        """
        layers = _describe(self, None if image_size == self.fixed_image_size else image_size).layers
        if not layers:
            raise OptionError(
                f"{display_name(self.path)} takes images of a size that its file does not say, and none that is "
                f"usual. Pass "
                "the image_size that it was made for."
            )
        return layers

    def find_weights(self, weights: str) -> Weights:
        """Return the file itself, which holds them.

        Raises
        ------
        OptionError
            Others are asked for.
        """
        if weights != "imagenet":
            raise OptionError(
                f"weights={weights!r} beside {display_name(self.path)}, which holds its own. Leave weights out."
            )
        return Weights(self.digest, Path(self.path))

    def layers_to_compile(self, wanted: Sequence[str]) -> list[str]:
        """Return the layers that are compiled together: those that are wanted."""
        return list(wanted)

    def as_task(self) -> dict[str, Any]:
        """Return what a child process needs to know of it."""
        return {"model_file": {**dataclasses.asdict(self), "path": os.path.abspath(self.path)}}

    def check_unchanged(self) -> None:
        """Raise if the file is not what it was.

        Raises
        ------
        WeightsError
        """
        if open_network_file(self.path).digest != self.digest:
            raise WeightsError(
                f"The network {display_name(self.path)} has changed while it was to be used. Run the same again."
            )

    def build(self, recipe: Recipe, weights_path: Path | None) -> Any:
        """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

        Raises
        ------
        OptionError
            It is no network of Keras.
        """
        from featx.backbones.files import keras_file as keras_files

        if self.kind != "keras":
            raise OptionError(
                f"engine='keras' cannot run {self.path!r}: files of this kind ({self.kind}) only OpenVINO runs. Pass "
                f"engine='auto' (--engine auto){'' if _has_openvino() else ', and install it: pip install openvino'}."
            )
        self.check_unchanged()
        return keras_files.build(self, recipe)


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


@functools.lru_cache(maxsize=32)
def _describe(network: NetworkFile, size: tuple[int, int] | None) -> _Description:
    """Return what is in a network: from where it was kept, or by a child process, which takes seconds for Keras's."""
    kept = _kept_description(network, size)
    try:
        return _as_description(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not looked at yet, or damaged: it is looked at (again)
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        file = Path(folder) / "description.json"
        task = {**network.as_task(), "image_size": size and list(size), "file": str(file)}
        remedy = "Is it a whole network, of a version that the installed tensorflow and openvino know?"
        run_child(
            "featx.backbones.workers.describe_file", task, f"reading the network {display_name(network.path)}", remedy
        )
        text = file.read_text(encoding="utf-8")
    _keep_description(kept, text)
    return _as_description(json.loads(text))


def cache_tuned_network(data: bytes, name: str, description: dict[str, Any] | None = None) -> Path:
    """Return where the bytes of a ``.keras`` file are kept, and what is in it if that is known.

    Raises
    ------
    StoreError
        They cannot be kept.
    """
    path = kept_models.cache_model_file(data, f"{name}.keras")
    if description is not None:
        kept = _kept_description(open_network_file(str(path)), None)
        _keep_description(kept, json.dumps(description))
    return path


def read_model_file(backbone: str) -> tuple[str, bytes] | None:
    """Return the name and the bytes of a network of the user's own that is one file; None of any other backbone."""
    if not is_model_path(backbone):
        return None
    network = open_network_file(backbone)
    path = Path(network.path)
    if network.kind not in ("keras", "onnx") or (network.kind == "onnx" and _external_data(path)):
        return None
    return path.name, path.read_bytes()


def _kept_description(network: NetworkFile, size: tuple[int, int] | None) -> Path:
    of_size = "x".join(map(str, size or ("own",)))
    return kept_models.folder() / f"{network.digest[:32]}-{of_size}-{_reader_version(network)}.json"


def _keep_description(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)
        write_text(path, text)
    except OSError:
        pass  # the next process looks at it again


def _reader_version(network: NetworkFile) -> str:
    """Return what reads a network, and which of it: another one may list other layers."""
    reader = "keras" if network.kind == "keras" else "openvino"
    try:
        return f"{reader}-{importlib.metadata.version(reader)}"
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            f"The network {display_name(network.path)} needs the package {reader}, which is not installed. "
            f"Install it: pip "
            f"install {'tensorflow' if reader == 'keras' else reader}."
        ) from error


def _as_description(found: dict[str, Any]) -> _Description:
    size = found["fixed_image_size"]
    return _Description(
        (size[0], size[1]) if size else None,
        as_layers(found["layers"]),
        found["layer"],
        found.get("takes", "float32"),
        tuple(found.get("others", ())),
    )
