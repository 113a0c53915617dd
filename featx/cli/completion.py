"""Completion of commands, options and their values in bash, zsh and fish.

The shell calls featx with the variable ``_ARGCOMPLETE``; without it, argcomplete is not imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

#: Values of options, by the name of their argument.
VALUES = {
    "backend": ("sequential", "loky", "dask", "ray"),
    "device": ("auto", "cpu", "cuda", "tensorrt", "mps", "directml"),
    "engine": ("auto", "openvino", "keras", "onnxruntime"),
    "index": ("exact", "faiss", "faiss-approximate"),
    "keep": ("best", "largest", "sharpest", "labeled", "first"),
    "method": ("auto", "activation", "occlusion"),
    "on_truncated": ("raise", "pad"),
    "pooling": ("native", "avg", "max", "avgmax", "cls", "none"),
    "preprocessing": ("tf", "torch", "caffe", "none"),
    "precision": ("auto", "float32", "float16", "bfloat16", "int8"),
    "resize": ("native", "squash", "crop", "pad"),
    "task": ("auto", "classification", "regression", "multilabel"),
    "tta": ("flip", "five-crop", "rotations", "none"),
}
#: Arguments that are files, and the suffixes of their names; those that are not here may be any file.
SUFFIXES = {
    "features": ("npy", "parquet"),
    "model": ("skops",),
    "report": ("html",),
    "html": ("html",),
    "csv": ("csv",),
    "label_issues": ("csv",),
    "list": ("csv", "txt"),
    "prompts": ("txt", "csv"),
    "weights": ("h5", "keras", "safetensors", "pt", "pth"),
}
#: Values of such arguments that are no files.
_OTHER_VALUES = {"weights": ("imagenet", "none")}
#: Arguments that are folders, by name and by metavar.
FOLDERS = ("cache", "root", "folder", "job")
_FOLDER_METAVARS = ("DIR", "OUTPUT")
#: Arguments whose values only the user knows.
_FREE = ("NAME", "N", "K", "P", "COLUMN", "COSINE", "MINUTES", "TEXT", "WORDS", "R,G,B", "ADDRESS", ("LOW", "HIGH"))


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the completions of the command line in the variables of the shell, and end the process."""
    import argcomplete

    for action in _actions(parser):
        if completer := _completer(action):
            action.completer = completer  # type: ignore[attr-defined]  # the attribute is argcomplete's
    argcomplete.autocomplete(parser, always_complete_options=False)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action


def _completer(action: argparse.Action) -> Callable[..., Any] | None:
    """Return the function that completes the values of an argument; None for any file."""
    from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter

    if action.dest in VALUES:
        return lambda **_: VALUES[action.dest]
    if action.dest == "backbone" or (action.dest, action.metavar) == ("name", "NAME"):
        return _backbones
    if action.dest in ("estimator", "select_from"):
        return _estimators
    completer: Callable[..., Any] | None = SuppressCompleter() if action.metavar in _FREE else None
    if action.dest in FOLDERS or action.metavar in _FOLDER_METAVARS:
        completer = DirectoriesCompleter()
    elif action.dest in SUFFIXES:
        files, others = FilesCompleter(SUFFIXES[action.dest]), _OTHER_VALUES.get(action.dest, ())
        return lambda prefix, **_: [*others, *files(prefix)]
    elif action.dest == "zip_encoding":
        return _zip_encodings
    return completer


def _zip_encodings(**_: Any) -> tuple[str, ...]:
    from featx.images.containers.zip_names import ZIP_ENCODINGS

    return ZIP_ENCODINGS


def _backbones(prefix: str, **_: Any) -> list[str]:
    """Return the names of backbones, and model files."""
    from argcomplete.completers import FilesCompleter

    from featx.backbones.registry import available_backbones

    return [*available_backbones(), *FilesCompleter(("keras", "h5", "onnx", "xml"))(prefix)]


def _estimators(prefix: str, **_: Any) -> list[str]:
    """Return the names of baselines, after those that a list has already."""
    from featx.baselines.builtin_baselines import NAMES

    first, comma = prefix.rpartition(",")[:2]
    names = dict.fromkeys(name for names in NAMES.values() for name in names)
    return [f"{first}{comma}{name}" for name in (*names, "fine-tune", "zero-shot") if name not in first.split(",")]
