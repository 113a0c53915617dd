"""Baselines of classes as baselines of tags."""

from __future__ import annotations

import dataclasses
from typing import Any

from featx.baselines.builtin_baselines import Baseline
from featx.errors import OptionError

#: Prefix of the parameters of the classifier of each tag.
_PREFIX = "estimator__"


def one_vs_rest(baseline: Baseline) -> Baseline:
    """Return a baseline that fits a classifier of this baseline for each tag.

    Raises
    ------
    OptionError
        The baseline is not fitted on features, and predicts one class for each image.
    """
    if baseline.per_tag is not None:
        return baseline
    if baseline.images is not None or baseline.needs_text:
        raise OptionError(
            f"Estimator {baseline.name!r} predicts one label for each image, and these have several. Use another one, "
            "such as logreg."
        )

    def make(n_train: int) -> Any:
        from featx.baselines.multilabel.classifier import TagClassifier

        return TagClassifier(baseline.make(n_train))

    grid = {f"{_PREFIX}{name}": values for name, values in baseline.grid.items()}
    return dataclasses.replace(baseline, make=make, grid=grid, prefix=f"{_PREFIX}{baseline.prefix}", per_tag=baseline)
