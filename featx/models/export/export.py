"""A model as one network for programs without featx: pixels in, probabilities or scores out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx.backbones.registry import NetworkBackbone
from featx.errors import ExportError, RecipeMismatchError
from featx.extraction.options import Resolved, resolve_cache
from featx.images.resize import resize_image
from featx.models.head.from_sklearn import as_head
from featx.models.head.head import Head
from featx.models.head.steps import Neighbors
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.system.child_process import run_child
from featx.system.files.atomic import atomic_write, temporary_folder
from featx.system.files.output_paths import as_output_error, check_output_file, check_output_folder

#: Largest difference to the model that is let through, in probabilities, or relative to the spread of scores.
_TOLERANCE = 1e-4
#: Scores that vary by less than this share of the largest are rounded too much to be compared more closely.
_LEAST_SPREAD = 0.01
_N_CHECKED = 3
_FOREIGN = "there is a file that featx has not written, and would be replaced"
#: Of a file, where its metadata are.
_END = 2_000_000


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes
    ----------
    path : str
    format : {"keras", "onnx", "openvino"}
    output : {"probabilities", "scores", "prediction"}
        What the network gives.
    largest_difference : float
        To the model's own, on images of noise, both at float32; of scores and quantities relative to their spread.
    notes : list of str
    as_it_is : float or None
        The difference to the model as it computes, on the same images, if that is not in float32; None if it is, or
        this machine cannot compute so.
    """

    path: str
    format: str
    output: str
    largest_difference: float
    notes: list[str]
    as_it_is: float | None = None

    def as_text(self) -> str:
        """Return it for people."""
        relative = "" if self.output == "probabilities" else " (relative to their spread)"
        return "\n".join(
            [
                f"{self.path}: uint8 pixels in, {self.output} out; differs from the model by "
                f"{self.largest_difference:.1e}{relative} at the most, both in float32, on {2 * _N_CHECKED} images "
                "of noise",
                *self.notes,
            ]
        )


def export_model(
    model: Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = "auto",
) -> ExportedModel:
    """Write a model as one network: the backbone, what prepares its pixels, and the estimator.

    Parameters
    ----------
    model : str, Path or Model
        A file that ``featx train`` or :func:`featx.save_pipeline` wrote.
    path : str or Path
        ``….keras``, ``….onnx`` (needs ``pip install 'featx[onnx]'``), or a folder for OpenVINO (``model.xml`` and
        ``model.bin``). The network takes uint8 pixels, shape (n, height, width, 3), RGB, of the recipe's size; labels
        and card are in its metadata, under ``featx``.
    cache : str, Path or None, default="auto"
        Where compiled networks are kept.

    Returns
    -------
    ExportedModel

    Raises
    ------
    ExportError
        The estimator, or the way to the features, cannot be written so; or what was written gives other numbers.
    OutputError
        The file cannot be written.
    MissingDependencyError
        A package for ONNX is not installed.
    ModelFileError, RecipeMismatchError, WeightsError
        The model cannot be used.
    """
    found = model if isinstance(model, Model) else read_model(model)
    target = Path(path)
    kind = _format_of(target)
    _check_target(target, kind)
    # What is written computes in float32, which every machine can.
    resolved = found.resolve(free=("precision",), precision="float32")
    found.check()
    found = dataclasses.replace(found, head=_head_of(found))
    _refuse_others(found, resolved)
    kept = resolve_cache(cache)
    pixels = _images_to_check(resolved.recipe.image_size)
    with temporary_folder() as folder:
        outputs = _written(found, resolved, kind, folder, pixels)
        compiled = kept / "compiled" if kept else None
        difference = _difference(found, resolved, pixels, outputs, compiled)
        as_it_is = _difference_as_it_is(found, pixels, outputs, compiled)
        _move(folder, target, kind)
    notes = _notes(found.card.recipe["precision"], as_it_is)
    return ExportedModel(str(target), kind, _output_of(found), difference, notes, as_it_is)


def _notes(precision: str, as_it_is: float | None) -> list[str]:
    if precision == "float32":
        return []
    by = "" if as_it_is is None else f", and differs from it by {as_it_is:.1e} on these"
    return [
        f"The model itself computes in {precision}, what was written in float32{by}; of other images it may be more. "
        "With --precision float32, featx train makes a model that gives the same numbers."
    ]


def _format_of(target: Path) -> str:
    kinds = {".keras": "keras", ".onnx": "onnx", "": "openvino"}
    suffix = target.suffix.lower()
    if suffix not in kinds or not target.name:
        raise ExportError(f"{str(target)!r}: expected a file that ends in .keras or .onnx, or (for OpenVINO) a folder.")
    return kinds[suffix]


def _check_target(target: Path, kind: str) -> None:
    """Raise if it cannot be written, or something else would be replaced."""
    if kind == "openvino":
        check_output_folder(target, ("model.xml", "model.bin"))
        target = target / "model.xml"
        if not target.is_file():
            return
    check_output_file(target, _is_exported)


def _is_exported(path: Path) -> bool:
    """Return whether a file has the card of a model near its end, where all formats keep their metadata."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _END))
        end = file.read()
    return b"featx" in end and b"n_features" in end


def _refuse_others(model: Model, resolved: Resolved) -> None:
    assert model.head is not None
    if any(isinstance(step, Neighbors) for step in model.head.scores):
        raise ExportError(
            "Nearest neighbours are not written as a network, which would have to hold the features of all images that "
            "were fitted on and compare each new one with them. "
            "Train a model with logreg, svm, linear-svm, ridge, lda or centroid."
        )
    if not isinstance(resolved.backbone, NetworkBackbone):
        raise ExportError(f"{resolved.backbone.name} is no network, and cannot be written as one. Train with another.")
    if resolved.recipe.tta:
        raise ExportError(
            f"This model decides by several views of an image ({resolved.recipe.tta!r}). Train one without views."
        )


def _head_of(model: Model) -> Head:
    """Return the head; ExportError says why there is none."""
    return model.head if model.head is not None else as_head(model.pipeline[1:])


def _images_to_check(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images of noise, and smooth ones."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (_N_CHECKED, *size, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (_N_CHECKED, 5, 5, 3), dtype=np.uint8)
    return np.concatenate([noise, [resize_image(Image.fromarray(one), size, "squash") for one in coarse]])


def _output_of(model: Model) -> str:
    if model.card.task == "regression":
        return "prediction"
    return "probabilities" if model.head is not None and model.head.probabilities is not None else "scores"


def _written(model: Model, resolved: Resolved, kind: str, folder: Path, pixels: np.ndarray[Any, Any]) -> Any:
    """Let a child process write the network into a folder; return what it gives for pixels."""
    assert model.head is not None
    assert isinstance(resolved.backbone, NetworkBackbone)
    described, arrays = model.head.as_arrays()
    np.savez(folder / "head.npz", **arrays)  # type: ignore[arg-type]  # its stub takes no names of files
    np.save(folder / "pixels.npy", pixels)
    names = {"keras": "model.keras", "onnx": "model.onnx", "openvino": "model.xml"}
    (folder / "out").mkdir()
    card = {**dataclasses.asdict(model.card), "labels": model.card.classes, "output": _output_of(model)}
    task = {
        **resolved.backbone.as_task(),
        "recipe": resolved.recipe.as_dict(),
        "weights_path": str(resolved.weights_path.resolve()) if resolved.weights_path else None,
        "head": described,
        "format": kind,
        "folder": str(folder),
        "file": str(folder / "out" / names[kind]),
        "metadata": json.dumps(card),
    }
    remedy = "Install tensorflow and openvino anew, or choose another format."
    run_child("featx.models.export.worker", task, f"writing the model {model.path!r} as {kind}", remedy)
    return np.load(folder / "outputs.npy", allow_pickle=False)


def _difference(
    model: Model, resolved: Resolved, pixels: np.ndarray[Any, Any], outputs: np.ndarray[Any, Any], compiled: Path | None
) -> float:
    """Return by how much a network differs from its model; raise if that is more than rounding."""
    rows = resolved.start(compiled)(pixels)
    scores, shares = model.predict_scores(rows)
    largest = _relative(outputs, scores) if shares is None else float(np.abs(outputs - shares).max())
    if not largest <= _TOLERANCE:
        raise ExportError(
            f"What was written differs from the model by {largest:.1e} (of scores relative to their spread; at most "
            f"{_TOLERANCE:.0e} is let through), and is not kept. Please report this; another format may do."
        )
    return largest


def _relative(outputs: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """Return the largest difference of scores as a share of their spread."""
    scale = max(float(np.ptp(scores)), _LEAST_SPREAD * float(np.abs(scores).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(outputs - scores).max()) / scale


def _difference_as_it_is(
    model: Model, pixels: np.ndarray[Any, Any], outputs: np.ndarray[Any, Any], compiled: Path | None
) -> float | None:
    """Return by how much a network differs from its model at the model's own precision; None where that is no other."""
    if model.card.recipe["precision"] == "float32":
        return None
    try:
        resolved = model.resolve()
    except RecipeMismatchError:  # this machine has no such precision
        return None
    scores, shares = model.predict_scores(resolved.start(compiled)(pixels))
    return float(np.abs(outputs - (scores if shares is None else shares)).max())


def _move(folder: Path, target: Path, kind: str) -> None:
    with as_output_error(target):
        if kind == "openvino":
            target.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            for written in sorted((folder / "out").iterdir(), reverse=True):  # what is last here is first in its place
                goal = target / written.name if kind == "openvino" else target
                shutil.copyfile(written, stack.enter_context(atomic_write(goal)))
            if kind == "openvino":  # stopped in between, no graph is there rather than an old one of new weights
                (target / "model.xml").unlink(missing_ok=True)
