"""What fine-tuning learns from: labels as numbers, what is held out, the output layer to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight

from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.split import Fold
from featx.baselines.folds.validation_split import validation_split
from featx.datasets.labels import as_label_array, is_missing, validate_labels
from featx.errors import TrainingError
from featx.features.duplicates.find import find_duplicates
from featx.images.image import Image
from featx.models.fine_tuning.output_layers import output_layer
from featx.system.formatting import format_list


def checked_classes(images: Sequence[Image], y: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the classes, and the number of each image's.

    Raises
    ------
    TrainingError
    """
    y = as_label_array(y)
    if y.ndim != 1 or len(y) != len(images):
        raise TrainingError(f"Expected one label for each of {len(images)} images, got y of shape {y.shape}.")
    missing = [at for at, label in enumerate(y.tolist()) if is_missing(label)]
    if missing:
        raise TrainingError(f"{len(missing)} images have no label, the first at position {missing[0]}. Leave them out.")
    classes, codes, counts = np.unique(validate_labels(y, "classification"), return_inverse=True, return_counts=True)
    if len(classes) < 2:
        found = f"only {classes.tolist()[0]!r}" if len(classes) else "no image"
        raise TrainingError(f"Expected images of two classes or more, got {found}. Add images of another class.")
    single = classes[counts < 2].tolist()
    if single:
        raise TrainingError(
            f"Expected two images or more of each class, got one of {format_list(single)}. Add images, or "
            "leave these classes out."
        )
    return classes, codes.astype(np.int64)


def check_weights(class_weight: Any, classes: np.ndarray[Any, Any]) -> None:
    """Raise if a weight was given to what is no class, while a class has none: as scikit-learn, a mistyped label.

    Raises
    ------
    TrainingError
    """
    if not isinstance(class_weight, dict):
        return
    known = classes.tolist()
    strangers = [label for label in class_weight if label not in known]
    without = [label for label in known if label not in class_weight]
    if strangers and without:
        raise TrainingError(
            f"class_weight: no image is of class {format_list(strangers)}, and {format_list(without)} has no "
            f"weight. Check the "
            "spelling."
        )


def hold_some_out(rows: Any, codes: Any, groups: Any, share: float, seed: int) -> Fold:
    """Return the rows to learn from, and those that are held out; no group, or near-duplicates, are divided."""
    if groups is not None:
        return validation_split(codes, group_codes(list(groups), len(codes)), share, seed)
    try:
        return validation_split(codes, find_duplicates(rows).groups, share, seed)
    except TrainingError:  # what nobody called groups is no reason not to begin
        return validation_split(codes, None, share, seed)


def given_to_child(
    rows: Any, codes: Any, classes: np.ndarray[Any, Any], fold: Fold, *, C: float, class_weight: Any
) -> dict[str, np.ndarray[Any, Any]]:
    """Return what the child is told of the images, besides their pixels."""
    train, held_out = fold
    weight = class_weight
    if isinstance(weight, dict):
        weight = {code: weight[label] for code, label in enumerate(classes.tolist()) if label in weight}
    kernel, bias = output_layer(rows[train], codes[train], C=C, class_weight=weight)
    kernel_of_all, bias_of_all = output_layer(rows, codes, C=C, class_weight=weight)
    return {
        "labels": codes,
        "weights": compute_sample_weight(weight, codes).astype(np.float32),
        "train": train,
        "held_out": held_out,
        "kernel": kernel,
        "bias": bias,
        "kernel_of_all": kernel_of_all,
        "bias_of_all": bias_of_all,
    }


def as_seed(random_state: Any) -> int:
    """Return a number for what scikit-learn takes for one."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
