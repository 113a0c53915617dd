"""Prepare what fine-tuning learns from: classes, the validation split, weights, and the initial output layer."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight

from featx.backbones.workers.training_files import TrainingInput
from featx.baselines.estimators import make_baseline
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.split import Fold
from featx.baselines.folds.validation_split import validation_split
from featx.datasets.labels import as_label_array, is_missing, validate_labels
from featx.errors import TrainingError
from featx.features.duplicates.find import find_duplicates
from featx.images.image import Image
from featx.models.head.from_sklearn import as_head
from featx.system.array_types import AnyArray, FloatArray, IntArray
from featx.system.formatting import format_list


def validate_classes(images: Sequence[Image], y: Any) -> tuple[AnyArray, IntArray]:
    """Return the distinct classes, and the index of the class of each image.

    Raises
    ------
    TrainingError
        There is not one label for each image, or fewer than two classes or two images of a class.
    """
    y = as_label_array(y)
    if y.ndim != 1 or len(y) != len(images):
        raise TrainingError(f"y must have one label for each of {len(images):,} images, got shape {y.shape}.")
    missing = [index for index, label in enumerate(y.tolist()) if is_missing(label)]
    if missing:
        raise TrainingError(
            f"y must not have missing labels, got {len(missing):,}, the first at index {missing[0]}. Remove these "
            "images."
        )
    classes, codes, counts = np.unique(validate_labels(y, "classification"), return_inverse=True, return_counts=True)
    if len(classes) < 2:
        only = f"only {classes.tolist()[0]!r}" if len(classes) else "no image"
        raise TrainingError(f"y must have at least two classes, got {only}. Add images of another class.")
    single = classes[counts < 2].tolist()
    if single:
        raise TrainingError(
            f"y must have at least two images of each class, got one of {format_list(single)}. Add images, or remove "
            "these classes."
        )
    return classes, codes.astype(np.int64)


def check_class_weight(class_weight: Any, classes: AnyArray) -> None:
    """Raise an error if weights of an unknown class were given while a class has none: a label is misspelled.

    Raises
    ------
    TrainingError
    """
    if not isinstance(class_weight, dict):
        return
    known = classes.tolist()
    unknown = [label for label in class_weight if label not in known]
    without_weight = [label for label in known if label not in class_weight]
    if unknown and without_weight:
        raise TrainingError(
            f"class_weight must have classes of y as keys, got {format_list(unknown)}, and no weight for "
            f"{format_list(without_weight)}. Check the spelling."
        )


def split_images(rows: FloatArray, codes: IntArray, groups: Any, fraction: float, seed: int) -> Fold:
    """Return the indices of the training and of the validation split.

    Groups are not divided. Without groups, near-duplicates are not divided if that is possible.

    Raises
    ------
    TrainingError
        With these groups, no class could be split.
    """
    if groups is not None:
        return validation_split(codes, group_codes(list(groups), len(codes)), fraction, seed)
    try:
        return validation_split(codes, find_duplicates(rows).groups, fraction, seed)
    except TrainingError:
        return validation_split(codes, None, fraction, seed)


def make_training_input(
    rows: FloatArray, codes: IntArray, classes: AnyArray, fold: Fold, *, C: float, class_weight: Any
) -> TrainingInput:
    """Return what the child process learns from, besides the pixels.

    Parameters
    ----------
    rows : ndarray of float32 of shape (n_samples, n_features)
        Features of the frozen network.
    codes : ndarray of int of shape (n_samples,)
        Class indices.
    classes : ndarray of shape (n_classes,)
    fold : (ndarray of int, ndarray of int)
        Indices of the training and of the validation split.
    C : float
    class_weight : {"balanced"}, dict or None
    """
    train, validation = fold
    if isinstance(class_weight, dict):
        class_weight = {
            code: class_weight[label] for code, label in enumerate(classes.tolist()) if label in class_weight
        }
    kernel, bias = fit_output_layer(rows[train], codes[train], C=C, class_weight=class_weight)
    refit_kernel, refit_bias = fit_output_layer(rows, codes, C=C, class_weight=class_weight)
    return TrainingInput(
        labels=codes,
        weights=compute_sample_weight(class_weight, codes).astype(np.float32),
        train=train,
        validation=validation,
        kernel=kernel,
        bias=bias,
        refit_kernel=refit_kernel,
        refit_bias=refit_bias,
    )


def fit_output_layer(X: AnyArray, codes: AnyArray, *, C: float, class_weight: Any) -> tuple[FloatArray, FloatArray]:
    """Fit the baseline ``logreg`` and return it as a layer whose outputs are its decision values.

    Parameters
    ----------
    X : ndarray of float32 of shape (n_samples, n_features)
    codes : ndarray of int of shape (n_samples,)
        Class indices.
    C : float
        Inverse regularization strength.
    class_weight : dict of int to float, "balanced" or None

    Returns
    -------
    kernel : ndarray of float32 of shape (n_features, n_classes)
    bias : ndarray of float32 of shape (n_classes,)
        For two classes, the decision value is divided between both, which gives the same probabilities.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    >>> kernel, bias = fit_output_layer(X, np.arange(9) % 3, C=30, class_weight=None)
    >>> logreg = make_baseline("logreg").fit(X, np.arange(9) % 3)
    >>> bool(np.allclose(X @ kernel + bias, logreg.decision_function(X), atol=1e-4))
    True
    """
    pipeline = make_baseline("logreg")
    pipeline.set_params(logisticregression__C=C, logisticregression__class_weight=class_weight).fit(X, codes)
    affine = as_head(pipeline).affine
    assert affine is not None  # logistic regression is linear
    kernel, bias = affine.weights, affine.bias
    if len(bias) == 1:
        kernel, bias = (np.concatenate([-array / 2, array / 2], axis=-1) for array in (kernel, bias))
    return kernel.astype(np.float32), bias.astype(np.float32)


def as_seed(random_state: Any) -> int:
    """Return an int for a ``random_state`` of scikit-learn."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
