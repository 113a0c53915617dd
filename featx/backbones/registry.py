"""Frozen backbones by name: built-in, registered in this process, or declared by an installed package."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os

from featx.backbones.base import Backbone, DirectBackbone, NetworkBackbone, Weights
from featx.backbones.color_histogram import ColorHistogram
from featx.backbones.described import find_described
from featx.backbones.entry_points import declared_names, load_declared, warn_taken_names
from featx.backbones.files.model_source import HUB_PREFIX, is_model_path, model_path_problem
from featx.backbones.files.network_file import NetworkFile
from featx.backbones.hub.hub_file import HubFile
from featx.backbones.keras.keras_backbone import KerasBackbone
from featx.backbones.records import read_records
from featx.backbones.torch.names import is_torch_name
from featx.backbones.torch.torch_backbone import TorchBackbone
from featx.errors import OptionError, UnknownBackboneError, did_you_mean
from featx.system.formatting import format_list

__all__ = [
    "Backbone",
    "DirectBackbone",
    "KerasBackbone",
    "NetworkBackbone",
    "Weights",
    "available_backbones",
    "load_backbone",
    "register_backbone",
    "unregister_backbone",
]

_BUILT_IN: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        ColorHistogram(),
        *(KerasBackbone(**dataclasses.asdict(record)) for record in read_records()),
    )
}
_registered: dict[str, Backbone] = {}
#: Backbones of installed packages that were looked up in this process.
_declared: dict[str, Backbone] = {}


def available_backbones() -> list[str]:
    """Return the names of all backbones.

    These are the built-in backbones, those that :func:`register_backbone` added in this process, and those that
    installed packages declare as entry points of the group ``featx.backbones``.

    Returns
    -------
    list of str
        Names in alphabetical order.

    See Also
    --------
    load_backbone : Return the backbone of a name.
    register_backbone : Register a backbone under its name.

    Examples
    --------
    >>> from featx import available_backbones
    >>> [name for name in available_backbones() if name.startswith("resnet50")]
    ['resnet50', 'resnet50_v2']
    """
    known = {*_BUILT_IN, *_registered}
    warn_taken_names(_BUILT_IN)
    return sorted({*known, *(name for name in declared_names() if name in known or _find_declared(name) is not None)})


def load_backbone(name: str | os.PathLike[str]) -> Backbone:
    """Return the backbone of a name, or the network in a custom model file.

    No deep learning library is imported.

    Parameters
    ----------
    name : str or path-like
        Name of a backbone, see :func:`available_backbones`; or path of a custom model file: ``.keras``, ``.h5``,
        ``.onnx``, ``.xml``, or the folder of a SavedModel.

    Returns
    -------
    Backbone
        Backbone of this name.

    Raises
    ------
    UnknownBackboneError
        If no backbone has this name, or the file cannot be read.
    WeightsError
        If the file is not a network that featx can use.

    See Also
    --------
    available_backbones : Return the names of all backbones.
    register_backbone : Register a backbone under its name.

    Examples
    --------
    >>> from featx import load_backbone
    >>> load_backbone("resnet50").n_features("avg")
    2048
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if isinstance(name, str):
        if (described := find_described(name)) is not None:
            return described
        backbone = _BUILT_IN.get(name) or _registered.get(name) or _declared.get(name)
        if backbone is None and name.startswith(HUB_PREFIX):
            return _open(HubFile, name)
        if backbone is None and is_model_path(name):
            return NetworkFile.open(name)
        if backbone is None and is_torch_name(name):
            return _open(TorchBackbone, name)
        if backbone is not None or (backbone := _find_declared(name)) is not None:
            return backbone
    # Declared backbones are not loaded here: the problems of their packages have nothing to do with this name.
    others = {*_BUILT_IN, *_registered, *declared_names()} - {name}
    raise UnknownBackboneError(
        f"Unknown backbone {name!r}.{model_path_problem(str(name))}{did_you_mean(str(name), sorted(others))} Run "
        f"`featx backbones` to list the built-in backbones, or `featx backbones --search WORD` to find others, such as "
        f"dinov2 or clip.{_worker_hint()}"
    )


def register_backbone(backbone: Backbone, *, replace: bool = False) -> None:
    """Register a backbone under its name, in this process.

    Parameters
    ----------
    backbone : Backbone
        Instance of :class:`DirectBackbone` or :class:`KerasBackbone`.
    replace : bool, default=False
        Whether to replace a registered backbone of the same name. Built-in backbones cannot be replaced.

    Raises
    ------
    OptionError
        If another backbone has this name, or if `backbone` cannot be registered.

    See Also
    --------
    unregister_backbone : Remove a registered backbone.
    load_backbone : Return the backbone of a name.

    Notes
    -----
    Other processes do not know the backbone. To make it known in every process, declare it in the ``pyproject.toml``
    of an installed package, as an instance or as a callable without arguments that returns one::

        [project.entry-points."featx.backbones"]
        mean_color = "my_package:MeanColor"

    A registered backbone takes precedence over a declared one.

    Examples
    --------
    >>> from featx import DirectBackbone, load_backbone, register_backbone, unregister_backbone
    >>> class MeanColor(DirectBackbone):
    ...     name, version, image_size = "mean_color", 1, 32
    ...     def n_features(self, pooling): return 3
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2), dtype="float32")
    >>> register_backbone(MeanColor())
    >>> load_backbone("mean_color").find_weights("imagenet").digest
    'version 1'
    >>> unregister_backbone("mean_color")
    """
    if not isinstance(backbone, Backbone):
        is_class = isinstance(backbone, type) and issubclass(backbone, Backbone)
        remedy = f"Pass an instance: {backbone.__name__}()." if is_class else "See featx.DirectBackbone for an example."
        raise OptionError(
            f"backbone must be an instance of DirectBackbone or KerasBackbone, got {backbone!r}. {remedy}"
        )
    name = getattr(backbone, "name", None)
    if not isinstance(name, str) or not name:
        raise OptionError(
            f"The name of a backbone must be a str that is not empty, got {name!r}. Set the class attribute name of "
            f"{type(backbone).__name__}."
        )
    if problem := backbone.registration_problem:
        raise OptionError(f"Cannot register backbone {backbone.name!r}: {problem}")
    known = _BUILT_IN.get(backbone.name) or (None if replace else _registered.get(backbone.name))
    if known is not None and known is not backbone:
        raise OptionError(
            f"Cannot register backbone {backbone.name!r}: another backbone has this name. Choose another name."
        )
    if known is None:
        _registered[backbone.name] = backbone


def unregister_backbone(name: str) -> None:
    """Remove a backbone that :func:`register_backbone` added in this process.

    Parameters
    ----------
    name : str
        Name of the backbone.

    Raises
    ------
    OptionError
        If no backbone was registered under this name.

    See Also
    --------
    register_backbone : Register a backbone under its name.

    Examples
    --------
    >>> from featx import DirectBackbone, available_backbones, register_backbone, unregister_backbone
    >>> class Brightness(DirectBackbone):
    ...     name, version, image_size = "brightness", 1, 32
    ...     def n_features(self, pooling): return 1
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2, 3), dtype="float32")[:, None]
    >>> register_backbone(Brightness())
    >>> unregister_backbone("brightness")
    >>> "brightness" in available_backbones()
    False
    """
    if name not in _registered:
        registered = f"one of {format_list(sorted(_registered))}" if _registered else "none is registered"
        raise OptionError(
            f"Cannot unregister backbone {name!r}: it was not registered in this process. Pass the name of a backbone "
            f"that register_backbone added ({registered})."
        )
    del _registered[name]


@functools.lru_cache(maxsize=64)
def _open(kind: type[HubFile] | type[TorchBackbone], name: str) -> Backbone:
    return kind.open(name)


def registered_backbone(name: str) -> Backbone | None:
    """Return the backbone that :func:`register_backbone` added under this name, or None."""
    return _registered.get(name)


def _find_declared(name: str) -> Backbone | None:
    """Return the backbone that an installed package declares; None if it does not exist or cannot be loaded."""
    if name not in _declared and (backbone := load_declared(name)) is not None:
        _declared[name] = backbone
    return _declared.get(name)


def _worker_hint() -> str:
    """Return what else may be wrong in a process that joblib or multiprocessing started."""
    if multiprocessing.current_process().name == "MainProcess":
        return ""
    return (
        " A backbone is known only to the process that registered it. Declare it as an entry point of an installed "
        'package (group "featx.backbones"), register it in each worker, or use threads: '
        'joblib.parallel_config("threading").'
    )
