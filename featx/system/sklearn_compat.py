"""Private helpers of scikit-learn, imported in one place, so that only this file depends on where they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, InvalidParameterError, RealNotInt
from sklearn.utils._param_validation import StrOptions as _StrOptions
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in
from sklearn.utils.validation import _num_samples as num_samples

__all__ = [
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "RealNotInt",
    "StrOptions",
    "check_feature_names",
    "check_feature_names_in",
    "num_samples",
    "reset_feature_names",
]


class StrOptions(_StrOptions):  # type: ignore[misc]  # scikit-learn is untyped
    """Constraint that lists its options in their order; scikit-learn's have another order in each process."""

    def __init__(self, options: Iterable[str]) -> None:
        self._ordered = tuple(options)
        super().__init__(set(self._ordered))

    def __str__(self) -> str:
        return f"a str among {{{', '.join(map(repr, self._ordered))}}}"


def reset_feature_names(estimator: Any, X: Any) -> None:
    """Set ``n_features_in_`` and ``feature_names_in_`` from a table; delete those of an earlier fit."""
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)
    if len(getattr(X, "shape", ())) == 2:
        estimator.n_features_in_ = 1
        _check_feature_names(estimator, X, reset=True)


def check_feature_names(estimator: Any, X: Any) -> None:
    """Raise ValueError if a table has other column names than the one the estimator was fitted on."""
    if hasattr(estimator, "feature_names_in_") and hasattr(X, "columns"):  # a list has no names to compare
        _check_feature_names(estimator, X, reset=False)


def check_feature_names_in(estimator: Any, input_features: Any) -> None:
    """Raise ValueError if `input_features` are not the names that the estimator was fitted with."""
    if hasattr(estimator, "n_features_in_"):
        _check_feature_names_in(estimator, input_features, generate_names=False)
