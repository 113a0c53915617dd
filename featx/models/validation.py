"""What a model must be to be written, and to be believed when it is read."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import ExportError, ModelFileError
from featx.models.archive import is_model
from featx.models.head.from_sklearn import as_head
from featx.models.head.head import Head
from featx.models.model import ModelCard, format_scores
from featx.system.files.output_paths import check_output_file, output_error

#: What skops may make besides scikit-learn's own, numpy's and scipy's.
TRUSTED = (
    "featx.scale_to_unit_length",
    "featx.extraction.feature_extractor.FeatureExtractor",
    "sklearn.calibration._CalibratedClassifier",  # two arrays and an estimator
    "sklearn.calibration._SigmoidCalibration",  # two numbers
)
_OF_PICKLES = (".pkl", ".pickle", ".joblib")
#: A head with more numbers is left to scikit-learn: it would double the size of the file.
_MOST_OF_HEAD = 10_000_000


def check_model_path(path: Path) -> None:
    """Raise if a model cannot be written to `path`, or would replace another kind of file.

    Raises
    ------
    OutputError
    """
    if path.suffix.lower() in _OF_PICKLES:
        raise output_error(path, f"{path.suffix} is the suffix of pickle files", "Use the suffix .skops.")
    check_output_file(path, is_model)


def whole(pipeline: Any) -> Any:
    """Return a pipeline as it is, and that of a fine-tuned network.

    Raises
    ------
    ModelFileError
        The network is not fitted.
    """
    from sklearn.exceptions import NotFittedError

    try:
        return pipeline.as_pipeline() if hasattr(pipeline, "as_pipeline") else pipeline
    except NotFittedError as error:
        raise ModelFileError(
            f"{type(pipeline).__name__} cannot be saved as a model: it is not fitted. Fit it."
        ) from error


def checked_material(features: Any, y: Any, n_features: int) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Return the rows that an estimator was fitted on, if they and their labels can be that.

    Raises
    ------
    ModelFileError
    """
    shape = () if y is None else np.asarray(y, dtype=object).shape
    if features is None:
        if y is not None and len(shape) != 1:
            raise ModelFileError(f"y: expected one label for each image, got shape {shape}.")
        return None
    expected = f"features: expected the rows that the estimator was fitted on, {n_features} finite numbers each"
    try:
        rows = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{expected}, got {error}. Pass what pipeline[0].transform gives.") from error
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != n_features:
        raise ModelFileError(f"{expected}, got shape {rows.shape}. Pass what pipeline[0].transform gives.")
    if not np.isfinite(rows).all():
        raise ModelFileError(f"{expected}, got NaN or infinity. Leave images out that cannot be read.")
    if y is not None and shape != (len(rows),):
        raise ModelFileError(f"y: expected one label for each of {len(rows)} rows of features, got shape {shape}.")
    return rows


def plain_scores(scores: Any) -> dict[str, Any]:
    """Return scores as JSON has them.

    Raises
    ------
    ModelFileError
        They are no mapping, or hold what is no number, text, or collection of these; or cannot be told.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} among them")

    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(scores), default=plain))
        format_scores(found)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"scores: expected a mapping of names to numbers or text, as JSON has them, got {error}. Leave others out."
        ) from error
    return found


def parts_of(pipeline: Any) -> tuple[Any, Any]:
    """Return the extractor of a pipeline, and what follows it as a pipeline.

    Raises
    ------
    ModelFileError
        It is no such pipeline, or not fitted.
    """
    from featx.extraction.feature_extractor import FeatureExtractor

    steps = getattr(pipeline, "steps", None)
    if not steps or len(steps) < 2 or not isinstance(steps[0][1], FeatureExtractor):
        raise ModelFileError(
            f"{type(pipeline).__name__} cannot be saved as a model: expected a Pipeline whose first step is a "
            "FeatureExtractor, and whose last is a classifier or regressor."
        )
    extractor, estimator = steps[0][1], pipeline[1:]
    if not hasattr(extractor, "recipe_") or not hasattr(estimator, "predict"):
        raise ModelFileError("This Pipeline cannot be saved as a model: it is not fitted, or predicts nothing. Fit it.")
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(steps[-1][1])
    except NotFittedError as error:
        raise ModelFileError("This Pipeline cannot be saved as a model: it is not fitted. Fit it.") from error
    if not isinstance(extractor.backbone, str | os.PathLike):
        raise ModelFileError(
            "The network of this Pipeline is an object, which the model could not find again. Save it "
            "(network.save('network.keras')), and fit the Pipeline with its path."
        )
    return extractor, estimator


def check_savable(estimator: Any, task: str) -> None:
    """Raise if an unfitted estimator will be of no use in a model, once it is fitted.

    Raises
    ------
    ModelFileError
    """
    import skops.io

    rng = np.random.default_rng(0)
    y = np.arange(12) % 2
    try:
        data = skops.io.dumps(estimator.fit(rng.random((12, 4)), y if task == "classification" else y + rng.random(12)))
    except Exception:  # whatever is wrong with it, fitting it on the images will tell
        return
    refuse_strangers(data)


def refuse_strangers(data: bytes) -> None:
    """Raise if what skops wrote would not be trusted when it is read.

    Raises
    ------
    ModelFileError
    """
    if strangers := strangers_in(data):
        raise ModelFileError(
            f"This cannot be saved as a model: {', '.join(strangers)} would not be trusted when it is read, as files "
            "can be made to do harm by it. Use one of featx's estimators, or another linear one of scikit-learn."
        )


def strangers_in(data: bytes) -> list[str]:
    """Return the names of classes and functions in a file of skops's that are not to be trusted."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))


def slim(estimator: Any) -> Any:
    """Return an estimator without what it has no need of to predict: the covariance of linear discriminants.

    It is as many numbers as there are pairs of features, 8 MB of 1,024, and the weights have been made of it.
    """
    if type(estimator).__name__ == "LinearDiscriminantAnalysis" and not estimator.store_covariance:
        estimator = copy.copy(estimator)
        vars(estimator).pop("covariance_", None)
    elif hasattr(estimator, "steps"):
        estimator = type(estimator)([(name, slim(step)) for name, step in estimator.steps])
    elif hasattr(estimator, "calibrated_classifiers_"):
        estimator = copy.copy(estimator)
        parts = [copy.copy(part) for part in estimator.calibrated_classifiers_]
        for part in parts:
            part.estimator = slim(part.estimator)
        estimator.calibrated_classifiers_ = parts
    return estimator


# The head -----------------------------------------------------------------------------------------------


def head_of(estimator: Any) -> Head | None:
    """Return a fitted estimator as a head; None where scikit-learn will run it."""
    try:
        head = as_head(estimator)
    except ExportError:
        return None
    return head if sum(array.size for array in head.as_arrays()[1].values()) <= _MOST_OF_HEAD else None


def check_decisions(head: Head, estimator: Any, rows: np.ndarray[Any, Any]) -> None:
    """Raise if a head decides otherwise than what it was made of.

    Raises
    ------
    ModelFileError
    """
    some = rows[:: max(1, len(rows) // 200)]
    scores, _ = head(some)
    said = np.asarray(estimator.predict(some))
    largest = max(1e-9, float(np.abs(scores).max()))
    if head.classes is None:
        agrees = np.allclose(scores[:, 0], said, rtol=1e-3, atol=1e-3 * largest)
    else:
        own = np.array([head.classes[at] for at in head.class_indices(scores)], dtype=object)
        top = np.sort(np.abs(scores) if scores.shape[1] == 1 else scores, axis=1)
        lead = top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0)
        agrees = bool((own == said.astype(object))[lead > 1e-4 * largest].all())  # elsewhere, rounding decides
    if not agrees:
        raise ModelFileError(
            "The model decides otherwise once it is written than before. Please report this, with the estimator: "
            f"{estimator!r}"
        )


def is_of(head: Head, estimator: Any) -> bool:
    """Return whether a head that was read is that of the estimator in the same file: the same steps and numbers."""
    try:
        own = as_head(estimator)
    except (ExportError, AttributeError, IndexError, TypeError, ValueError):  # it need not be what it says it is
        return False
    (said, found), (expected, numbers) = head.as_arrays(), own.as_arrays()
    return (
        said == expected
        and found.keys() == numbers.keys()
        and all(_is_close(found[name], number) for name, number in numbers.items())
    )


def _is_close(found: np.ndarray[Any, Any], number: np.ndarray[Any, Any]) -> bool:
    """Return whether numbers are the same but for their having been written as float32."""
    if found.shape != number.shape:
        return False
    largest = float(np.abs(number).max(initial=0))
    return bool(np.allclose(found, number, rtol=1e-5, atol=1e-6 * largest))


def check_shapes(head: Head, card: ModelCard) -> None:
    """Raise ValueError if a head does not take this model's features, or gives no scores of its classes."""
    scores, shares = head(np.zeros((1, card.n_features)))
    n_classes = len(card.classes) or 1
    is_fine = scores.shape[1] in ({n_classes} if n_classes != 2 else {1, 2})
    if not np.isfinite(scores).all():
        raise ValueError("its arrays hold numbers that are none")
    if not is_fine or (shares is not None and shares.shape[1] != n_classes) or (head.classes or []) != card.classes:
        raise ValueError("its arrays do not fit its classes")


def check_training(rows: np.ndarray[Any, Any], card: ModelCard) -> None:
    """Raise ValueError if rows of training images are not of this model's features."""
    if rows.dtype.kind != "f" or rows.ndim != 2 or not len(rows) or rows.shape[1] != card.n_features:
        raise ValueError(f"training rows of {rows.dtype}, shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("training rows that are no numbers")
