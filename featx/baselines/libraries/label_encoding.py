"""Classifiers of other libraries, fitted on classes that are encoded as integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from featx.baselines.libraries.outputs import as_column, check_columns
from featx.system.array_types import AnyArray, IntArray
from featx.system.sklearn_compat import num_samples

#: Packages whose classifiers take class labels of any type.
_TAKE_LABELS = ("sklearn", "featx")


def _estimator_has(method: str) -> Any:
    def check(self: LabelEncodedClassifier) -> bool:
        return hasattr(getattr(self, "estimator_", self.estimator), method)

    return check


class LabelEncodedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a classifier on classes encoded as 0, 1, 2, …, and return its predictions as labels.

    XGBoost takes no other classes, and CatBoost returns predictions of shape (n_samples, 1). With this class around
    them, they behave like estimators of scikit-learn. featx puts it around classifiers of other libraries by itself.

    Parameters
    ----------
    estimator : estimator
        Unfitted classifier.

    Attributes
    ----------
    estimator_ : estimator
        Fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels.

    See Also
    --------
    compare_baselines : Compare estimators.
    train_images : Fit an estimator on images.

    Examples
    --------
    >>> from featx import LabelEncodedClassifier
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> classifier = LabelEncodedClassifier(DecisionTreeClassifier()).fit([[0], [1], [2]], ["cat", "dog", "cat"])
    >>> classifier.estimator_.classes_.tolist(), classifier.predict([[1], [2]]).tolist()
    ([0, 1], ['dog', 'cat'])
    """

    __module__ = "featx"  # pickles must not depend on where the code is

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> LabelEncodedClassifier:
        """Fit the classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Class labels.

        Returns
        -------
        LabelEncodedClassifier
            The object itself.
        """
        if y is None:
            raise ValueError("fit requires y to be passed, but the target y is None. Pass a label for each row of X.")
        checked = check_array(y, ensure_2d=False, dtype=None, input_name="y", estimator=self)
        labels = column_or_1d(checked, warn=True)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self.estimator_ = clone(self.estimator).fit(X, codes)
        return self

    def predict(self, X: Any) -> AnyArray:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        check_is_fitted(self)
        predicted = as_column(self.estimator_.predict(X), num_samples(X), "predict")
        codes: IntArray = np.asarray(predicted, dtype=np.float64).astype(np.int64)
        if not (np.isin(codes, np.arange(len(self.classes_))) & (codes == predicted)).all():
            raise ValueError(
                f"predict must return classes from 0 to {len(self.classes_) - 1}, got {np.unique(predicted)[:5]!r}"
            )
        labels: AnyArray = self.classes_[codes]
        return labels

    @available_if(_estimator_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> AnyArray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float of shape (n_samples, n_classes)
            Columns are `classes_`.
        """
        check_is_fitted(self)
        return check_columns(self.estimator_.predict_proba(X), (num_samples(X), len(self.classes_)), "predict_proba")

    @available_if(_estimator_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> AnyArray:
        """Return the decision value of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float of shape (n_samples, n_classes) or (n_samples,)
            Decision values, one of two classes.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.decision_function(X))

    @property
    def n_features_in_(self) -> int:
        """Number of features of the training samples."""
        try:
            check_is_fitted(self)
            return int(self.estimator_.n_features_in_)
        except NotFittedError as error:
            raise AttributeError(f"{type(self).__name__} has no attribute 'n_features_in_' before fit.") from error

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def needs_encoding(estimator: Any) -> bool:
    """Return whether an estimator, or one inside of it, is of another library than scikit-learn and featx."""
    parts = [estimator, *estimator.get_params(deep=True).values()]
    return any(
        hasattr(part, "fit")
        and hasattr(part, "predict")
        and type(part).__module__.partition(".")[0] not in _TAKE_LABELS
        for part in parts
    )
