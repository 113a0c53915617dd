"""Check the arguments of :func:`featx.save_pipeline`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.labels import as_label_array
from featx.datasets.tags import are_tags
from featx.errors import ModelFileError
from featx.models.archive import is_model
from featx.models.card import format_scores, predicts_tags
from featx.system.array_types import FloatArray
from featx.system.files.output_paths import check_output_file, output_error

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")


def check_model_path(path: Path) -> None:
    """Raise an error if a model cannot be written to this path, or would replace another kind of file.

    Raises
    ------
    OutputError
    """
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise output_error(path, "a model is not a pickle", "Choose a name that ends in .skops.")
    check_output_file(path, is_model)


def validate_pipeline(pipeline: Any) -> Any:
    """Return a pipeline as it is, and a fine-tuned classifier as a pipeline.

    Raises
    ------
    ModelFileError
        The classifier is not fitted.
    """
    from sklearn.exceptions import NotFittedError

    try:
        return pipeline.as_pipeline() if hasattr(pipeline, "as_pipeline") else pipeline
    except NotFittedError as error:
        raise ModelFileError(
            f"Cannot save {type(pipeline).__name__} as a model: it is not fitted. Call fit first."
        ) from error


def split_pipeline(pipeline: Any) -> tuple[Any, Any]:
    """Return the extractor of a fitted pipeline, and the other steps as a pipeline.

    Raises
    ------
    ModelFileError
        The first step is not a FeatureExtractor, or a step is not fitted or cannot be saved.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    from featx.extraction.feature_extractor import FeatureExtractor

    steps = getattr(pipeline, "steps", None)
    if not steps or len(steps) < 2 or not isinstance(steps[0][1], FeatureExtractor):
        raise ModelFileError(
            f"Cannot save {type(pipeline).__name__} as a model: expected a Pipeline whose first step is a "
            "FeatureExtractor and whose last step is a classifier or regressor."
        )
    extractor, estimator = steps[0][1], pipeline[1:]
    try:
        if not hasattr(extractor, "recipe_"):
            raise NotFittedError
        check_is_fitted(steps[-1][1])
    except NotFittedError as error:
        raise ModelFileError("Cannot save this Pipeline as a model: it is not fitted. Call fit first.") from error
    if not hasattr(estimator, "predict"):
        raise ModelFileError(
            f"Cannot save this Pipeline as a model: its last step, {type(steps[-1][1]).__name__}, has no predict. Use "
            "a classifier or regressor."
        )
    if not isinstance(extractor.backbone, str | os.PathLike):
        raise ModelFileError(
            "Cannot save this Pipeline as a model: its backbone is an object in memory. Save the network with "
            "network.save('network.keras'), and fit the Pipeline with that path as the backbone."
        )
    return extractor, estimator


def check_number_of_labels(estimator: Any, rows: FloatArray, y: Any) -> None:
    """Raise an error if an estimator predicts several labels in another form than a TagClassifier, or `y` differs.

    Raises
    ------
    ModelFileError
    """
    has_tags = predicts_tags(estimator)
    if y is not None and are_tags(as_label_array(y)) != has_tags:
        expected = "the tags of each image" if has_tags else "one label for each image"
        raise ModelFileError(f"y must have {expected}, as the estimator was fitted. Pass its labels.")
    if not has_tags and np.ndim(estimator.predict(rows)) != 1:
        raise ModelFileError(
            f"Cannot save this Pipeline as a model: {type(estimator.steps[-1][1]).__name__} predicts several values "
            "for each image, which predict_images cannot read. For several labels, fit featx.TagClassifier(estimator)."
        )


def validate_training_data(features: Any, y: Any, n_features: int) -> FloatArray | None:
    """Return the features that an estimator was fitted on as an array, or None if there are none.

    Raises
    ------
    ModelFileError
        `features` or `y` have a wrong shape or type.
    """
    shape = () if y is None else as_label_array(y).shape
    if features is None:
        if y is not None and len(shape) != 1:
            raise ModelFileError(f"y must have one label for each image, got shape {shape}.")
        return None
    expected = f"features must have shape (n_samples, {n_features}) and finite values"
    remedy = "Pass the output of pipeline[0].transform."
    try:
        rows = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{expected}, got {error}. {remedy}") from error
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != n_features:
        raise ModelFileError(f"{expected}, got shape {rows.shape}. {remedy}")
    if not np.isfinite(rows).all():
        raise ModelFileError(f"{expected}, got NaN or infinity. Remove the rows of unreadable images.")
    if y is not None and shape != (len(rows),):
        raise ModelFileError(f"y must have one label for each of {len(rows):,} rows of features, got shape {shape}.")
    return rows


def validate_scores(scores: Any) -> dict[str, Any]:
    """Return scores in JSON types.

    Raises
    ------
    ModelFileError
        `scores` is not a mapping, or contains values that JSON does not have.
    """

    def as_json_type(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        raise TypeError(f"a value of type {type(value).__name__}")

    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(scores), default=as_json_type))
        format_scores(plain)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"scores must be a mapping of names to numbers or text in JSON types, got {error}. Remove other values."
        ) from error
    return plain
