"""Write a model as one network for programs without featx: pixels in, probabilities or scores out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from featx.backbones.registry import NetworkBackbone
from featx.backbones.torch.torch_backbone import TorchBackbone
from featx.errors import ExportError, OptionError
from featx.extraction.engines.compile import load_or_compile
from featx.extraction.options import Resolved, resolve_cache
from featx.models.export.comparison import (
    N_COMPARED,
    comparison_images,
    difference_in_training_precision,
    output_difference,
)
from featx.models.head.from_sklearn import as_head
from featx.models.head.steps import Neighbors
from featx.models.head.tag_head import as_tag_head
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.system.array_types import AnyArray
from featx.system.child_process import run_child
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error, check_output_file, check_output_folder
from featx.system.files.temporary import temporary_folder
from featx.system.notebook.html import TextResult
from featx.system.terminal.progress import ProgressFunction, reporting, stage

Format: TypeAlias = Literal["keras", "onnx", "openvino"]
Output: TypeAlias = Literal["probabilities", "scores", "prediction"]
_FORMATS = {".keras": "keras", ".onnx": "onnx", "": "openvino"}
_FILE_NAMES = {"keras": "model.keras", "onnx": "model.onnx", "openvino": "model.xml"}
#: Number of bytes at the end of a file in which all formats have their metadata.
_METADATA_BYTES = 2_000_000


@dataclasses.dataclass(frozen=True)
class ExportedModel(TextResult):
    """An exported network.

    Attributes
    ----------
    path : str
        Path of the file or folder.
    format : {"keras", "onnx", "openvino"}
    output : {"probabilities", "scores", "prediction"}
        Outputs of the network.
    max_difference : float
        Largest difference from the outputs of the model on random images, both in float32. For scores and
        predictions, it is relative to their spread.
    notes : list of str
    max_difference_in_training_precision : float or None
        Largest absolute difference from the outputs of the model in the precision of its training. None if that is
        float32, or if this machine does not support it.

    See Also
    --------
    export_model : Export a model.

    Examples
    --------
    >>> from featx import ExportedModel
    >>> print(ExportedModel("model.keras", "keras", "probabilities", 2.4e-07, []))
    model.keras: input uint8 pixels, output probabilities; maximum difference from the model 2.4e-07 (float32, ...)
    """

    path: str
    format: Format
    output: Output
    max_difference: float
    notes: list[str]
    max_difference_in_training_precision: float | None = None

    def as_text(self) -> str:
        """Return the result as human-readable text."""
        relative = "" if self.output == "probabilities" else ", relative to their spread"
        difference = (
            f"{self.path}: input uint8 pixels, output {self.output}; maximum difference from the model "
            f"{self.max_difference:.1e}{relative} (float32, {N_COMPARED} random images)"
        )
        return "\n".join([difference, *self.notes])


def export_model(
    model: Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = "auto",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ExportedModel:
    """Export a model as one network for Keras, ONNX or OpenVINO.

    The network contains the scaling of pixels, the backbone and the estimator. It takes RGB images that are resized to
    the image size of the model, uint8 of shape (n_samples, height, width, 3).

    Parameters
    ----------
    model : str, Path or Model
        File that ``featx train`` or :func:`save_pipeline` wrote, or the model that :func:`read_model` returned.
    output : str or Path
        Path of a file that ends in ``.keras`` or ``.onnx``, or of a folder for OpenVINO (``model.xml``,
        ``model.bin``). ONNX needs ``pip install 'featx[onnx]'``.
    cache : str, Path or None, default="auto"
        Path of the feature cache, which holds compiled networks; see :class:`FeatureExtractor`.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    ExportedModel
        Files that were written, and the difference of their outputs from those of the model.

    Raises
    ------
    ExportError
        The backbone or the estimator cannot be part of a network, or the outputs of the network differ from those of
        the model.
    OptionError
        The suffix of the output is not supported.
    OutputError
        The file cannot be written.
    MissingDependencyError
        A package for ONNX is not installed.
    ModelFileError, RecipeMismatchError, WeightsError
        The model cannot be used.

    See Also
    --------
    predict_images : Predict images with featx.
    save_pipeline : Save a model for featx.

    Notes
    -----
    The network computes in float32, which every machine supports. That of a model of tags has a column for each tag,
    and their probabilities do not sum to 1. Class labels and the model card are in its metadata, as JSON under the key
    ``featx``. The writing happens in a child process, so that tensorflow is not imported here. The outputs are compared
    with those of the model before the file is moved to its place.

    Examples
    --------
    ``export_model("model.skops", "model.onnx")`` writes an ONNX file. Only neural networks can be exported:

    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, export_model, save_pipeline
    >>> from featx.errors import ExportError
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     try:
    ...         export_model(f"{folder}/model.skops", f"{folder}/model.onnx", cache=None)
    ...     except ExportError as error:
    ...         print(error)
    Cannot export '...model.skops': color_histogram is not a neural network. Train a model with another backbone.
    """
    opened = model if isinstance(model, Model) else read_model(model)
    target = Path(output)
    file_format = _format_of(target)
    _check_target(target, file_format)
    resolved = opened.resolve(precision="float32", use_graph=False)
    opened.check()
    if opened.head is None:
        convert = as_tag_head if opened.card.task == "multilabel" else as_head
        opened = dataclasses.replace(opened, head=convert(opened.pipeline[1:]))
    _check_exportable(opened, resolved)
    cache_folder = resolve_cache(cache)
    compiled = cache_folder / "compiled" if cache_folder else None
    pixels = comparison_images(resolved.recipe.image_size)
    with reporting(verbose, progress), stage("export", 3, "steps") as advance, temporary_folder() as folder:
        advance.begin_step("writing the network")
        outputs = _write_network(opened, resolved, file_format, folder, pixels, compiled=compiled)
        advance.begin_step("comparing its outputs")
        difference = output_difference(opened, resolved, pixels, outputs, compiled)
        other_difference = difference_in_training_precision(opened, pixels, outputs, compiled)
        advance.begin_step("moving the files")
        move_files(folder / "out", target, file_format)
    notes = precision_notes(opened.card.recipe["precision"], other_difference)
    return ExportedModel(str(target), file_format, _output_of(opened), difference, notes, other_difference)


def precision_notes(precision: str, difference: float | None) -> list[str]:
    """Return the note on a model whose precision is not that of its network."""
    if precision == "float32":
        return []
    measured = "" if difference is None else f"; maximum difference {difference:.1e} on these images"
    return [
        f"The model was trained in {precision}, the network computes in float32{measured}. To get equal outputs, train "
        "the model with precision='float32' (--precision float32)."
    ]


# Checks -------------------------------------------------------------------------------------------------


def _format_of(target: Path) -> Format:
    suffix = target.suffix.lower()
    if suffix not in _FORMATS or not target.name:
        raise OptionError(
            f"output (--output) must end in .keras or .onnx, or be a folder for OpenVINO, got {str(target)!r}."
        )
    return cast(Format, _FORMATS[suffix])


def _check_target(target: Path, file_format: Format) -> None:
    """Raise an error if the target cannot be written, or would replace files that are not an exported model."""
    if file_format == "openvino":
        check_output_folder(target, ("model.xml", "model.bin"), parents=_is_version(target))
        target = target / "model.xml"
        if not target.is_file():
            return
    check_output_file(target, _is_exported)


def _is_version(target: Path) -> bool:
    """Return whether a folder is a version of a model, as OpenVINO Model Server expects it: ``repository/photos/1``.

    The folders above it are created; those above other folders may be misspelled.
    """
    return target.name.isdecimal()


def _is_exported(path: Path) -> bool:
    """Return whether the metadata at the end of a file have a model card."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _METADATA_BYTES))
        end = file.read()
    return b"featx" in end and b"n_features" in end


def _check_exportable(model: Model, resolved: Resolved) -> None:
    assert model.head is not None
    reason = ""
    if any(isinstance(step, Neighbors) for step in model.head.scores):
        reason = (
            "nearest neighbors need the features of all training images. Train a model with logreg, svm, linear-svm, "
            "ridge, lda or centroid"
        )
    elif not isinstance(resolved.backbone, NetworkBackbone):
        reason = f"{resolved.backbone.name} is not a neural network. Train a model with another backbone"
    elif resolved.recipe.tta:
        reason = f"it uses test-time augmentation (tta={resolved.recipe.tta!r}). Train a model without tta (--tta)"
    if reason:
        raise ExportError(f"Cannot export {model.path!r}: {reason}.")


def _output_of(model: Model) -> Output:
    if model.card.task == "regression":
        return "prediction"
    return "probabilities" if model.head is not None and model.head.probabilities is not None else "scores"


# Writing ------------------------------------------------------------------------------------------------


def _write_network(
    model: Model, resolved: Resolved, file_format: Format, folder: Path, pixels: AnyArray, *, compiled: Path | None
) -> AnyArray:
    """Write the network in a child process, into ``folder/out``; return its outputs for pixels."""
    assert model.head is not None
    assert isinstance(resolved.backbone, NetworkBackbone)
    head, arrays = model.head.as_arrays()
    np.savez(folder / "head.npz", **cast("dict[str, Any]", arrays))
    np.save(folder / "pixels.npy", pixels)
    (folder / "out").mkdir()
    if file_format == "openvino" and isinstance(resolved.backbone, TorchBackbone):
        # The child process below imports tensorflow, and must not import torch too: one crashed so.
        graph = load_or_compile(resolved.backbone, resolved.recipe, resolved.weights_path, compiled)
        (folder / "network.xml").write_bytes(graph.xml)
        (folder / "network.bin").write_bytes(graph.bin)
    card = {**dataclasses.asdict(model.card), "labels": model.card.classes, "output": _output_of(model)}
    task = {
        **resolved.backbone.as_task(),
        "recipe": resolved.recipe.as_dict(),
        "weights_path": str(resolved.weights_path.resolve()) if resolved.weights_path else None,
        "head": head,
        "format": file_format,
        "folder": str(folder),
        "file": str(folder / "out" / _FILE_NAMES[file_format]),
        "metadata": json.dumps(card),
    }
    remedy = "Reinstall tensorflow and openvino, or choose another format."
    run_child("featx.models.export.worker", task, f"exporting the model {model.path!r} to {file_format}", remedy)
    outputs: AnyArray = np.load(folder / "outputs.npy", allow_pickle=False)
    return outputs


def move_files(source: Path, target: Path, file_format: Format) -> None:
    """Move the files of an exported network to their place.

    ``model.xml`` is removed before ``model.bin`` is replaced and written last: an interruption leaves no graph rather
    than one with the weights of another model.
    """
    with as_output_error(target):
        if file_format != "openvino":
            (file,) = source.iterdir()
            with atomic_write(target) as temporary:
                shutil.copyfile(file, temporary)
            return
        target.mkdir(parents=_is_version(target), exist_ok=True)
        with contextlib.ExitStack() as stack:  # temporary files move to their places in reverse order
            for name in ("model.xml", "model.bin"):
                shutil.copyfile(source / name, stack.enter_context(atomic_write(target / name)))
            (target / "model.xml").unlink(missing_ok=True)
