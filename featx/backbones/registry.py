"""Which frozen backbones exist, by name."""

from __future__ import annotations

import multiprocessing

from featx.backbones.base import Backbone, DirectBackbone, NetworkBackbone, Weights
from featx.backbones.builtin_networks import read_networks
from featx.backbones.color_histogram import ColorHistogram
from featx.backbones.files.network_file import is_model_path, model_path_problem, open_network_file
from featx.backbones.keras_application import KerasBackbone
from featx.errors import OptionError, UnknownBackboneError, did_you_mean

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

_registered: dict[str, Backbone] = {backbone.name: backbone for backbone in (ColorHistogram(), *read_networks())}


def available_backbones() -> list[str]:
    """Return the names of all backbones, in order.

    Examples
    --------
    >>> [name for name in available_backbones() if name.startswith("resnet50")]
    ['resnet50', 'resnet50_v2']
    """
    return sorted(_registered)


def load_backbone(name: str) -> Backbone:
    """Return the backbone of this name; nothing heavy is loaded.

    Parameters
    ----------
    name : str
        See :func:`available_backbones`; or the path of a network's own file: ``.keras``, ``.h5``, ``.onnx``, ``.xml``,
        or the folder of a SavedModel.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownBackboneError
        No backbone has this name; the nearest one is suggested.

    Examples
    --------
    >>> load_backbone("resnet50").n_features("avg")
    2048
    """
    if isinstance(name, str) and name not in _registered and is_model_path(name):
        return open_network_file(name)
    try:
        return _registered[name]
    except (KeyError, TypeError):
        hint = did_you_mean(str(name), _registered)
        raise UnknownBackboneError(
            f"Unknown backbone {name!r}.{model_path_problem(str(name))}{hint} Run `featx backbones` to list all "
            f"{len(_registered)}.{_of_a_worker()}"
        ) from None


def _of_a_worker() -> str:
    """Return what else may be the reason in a process that joblib or multiprocessing started."""
    if multiprocessing.current_process().name == "MainProcess":
        return ""
    return (
        " One of your own is known only to the process that registered it: use threads, "
        'joblib.parallel_config("threading"), or register it in the workers too.'
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
    Other processes do not know the backbone. To make it known everywhere, declare it in the ``pyproject.toml`` of an
    installed package, as an instance or as a callable without arguments that returns one::

        [project.entry-points."featx.backbones"]
        mean_color = "my_package:MeanColor"

    Examples
    --------
    >>> class MeanColor(DirectBackbone):
    ...     name, version, image_size = "mean_color", 1, 32
    ...     def n_features(self, pooling): return 3
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2), dtype="float32")
    >>> register_backbone(MeanColor())
    >>> load_backbone("mean_color").find_weights("imagenet").digest
    'version 1'
    >>> unregister_backbone("mean_color")
    """
    if isinstance(backbone, KerasBackbone) and type(backbone) is not KerasBackbone:
        raise OptionError(
            f"{type(backbone).__name__} is a subclass of KerasBackbone, which the child process that converts it "
            "would not know. Register a KerasBackbone, or write a DirectBackbone."
        )
    if isinstance(backbone, DirectBackbone) and not hasattr(backbone, "version"):
        raise OptionError(
            f"{type(backbone).__name__} has no version. Give it one (version = 1), and another whenever its extract "
            "changes."
        )
    if replace and backbone.name not in _BUILT_IN:
        _registered[backbone.name] = backbone
    if _registered.setdefault(backbone.name, backbone) is not backbone:
        raise OptionError(f"A backbone named {backbone.name!r} exists already. Give yours another name.")


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
    register_backbone : Register a backbone.
    """
    if name in _BUILT_IN or name not in _registered:
        raise OptionError(f"Cannot unregister backbone {name!r}: it was not registered in this process.")
    del _registered[name]


def registered_backbone(name: str) -> Backbone | None:
    """Return the backbone that :func:`register_backbone` added under this name; None if there is none."""
    return None if name in _BUILT_IN else _registered.get(name)


_BUILT_IN = frozenset(_registered)
