"""One-vs-rest: a binary classifier for each tag."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from featx.datasets.labels import as_label_array
from featx.datasets.tags import are_tags, tag_matrix, tag_names
from featx.errors import ComparisonError
from featx.system.array_types import Float64Array, IntArray


def _estimator_has(method: str) -> Any:
    return available_if(lambda self: hasattr(self.estimator, method))


class TagClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a binary classifier for each tag (one-vs-rest).

    Parameters
    ----------
    estimator : estimator
        Unfitted classifier of two classes.

    Attributes
    ----------
    classes_ : ndarray of str of shape (n_tags,)
        Sorted tags of the training samples.
    estimators_ : list of (estimator or int)
        Fitted classifier of each tag. 1 for a tag that all training samples have.

    See Also
    --------
    compare_baselines : Compare estimators, also on tags.
    train_images : Fit an estimator on images, also on tags.

    Examples
    --------
    >>> from featx import TagClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    >>> classifier = TagClassifier(LogisticRegression(C=100)).fit(X, [[], ["sea"], ["beach"], ["beach", "sea"]])
    >>> classifier.classes_.tolist(), classifier.predict(X).tolist()
    (['beach', 'sea'], [[0, 0], [0, 1], [1, 0], [1, 1]])
    """

    __module__ = "featx"  # model files and pickles must not depend on where the code is

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> TagClassifier:
        """Fit one classifier for each tag.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_tags)
            Tags of each sample: lists of str, or a matrix of 0 and 1, whose tags are the columns of a DataFrame or "0",
            "1" and so on.

        Returns
        -------
        TagClassifier
            The object itself.
        """
        tags = as_label_array(y)
        if not are_tags(tags):
            raise ComparisonError("y must be the tags of each sample: lists of str, or a matrix of 0 and 1.")
        names = tag_names(tags)
        if not names:
            raise ComparisonError("y must have at least one tag, got none. Add samples with tags.")
        self.classes_ = np.array(names)
        self.estimators_ = [
            1 if column.all() else clone(self.estimator).fit(X, column) for column in tag_matrix(tags, names).T
        ]
        return self

    def predict(self, X: Any) -> IntArray:
        """Return 1 for each tag that a sample has, else 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of int of shape (n_samples, n_tags)
            Columns are `classes_`.
        """
        return self._columns(X, lambda estimator: estimator.predict(X)).astype(np.int64)

    @_estimator_has("predict_proba")  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Float64Array:
        """Return the probability of each tag. They do not sum to 1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float of shape (n_samples, n_tags)
            Columns are `classes_`.
        """
        return self._columns(X, lambda estimator: estimator.predict_proba(X)[:, 1])

    @_estimator_has("decision_function")  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Float64Array:
        """Return the decision value of each tag, which is positive for tags that a sample has.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float of shape (n_samples, n_tags)
            Columns are `classes_`.
        """
        return self._columns(X, lambda estimator: estimator.decision_function(X))

    def _columns(self, X: Any, compute: Any) -> Float64Array:
        check_is_fitted(self)
        columns = np.ones((_num_samples(X), len(self.estimators_)))
        for column, estimator in enumerate(self.estimators_):
            if not isinstance(estimator, int):
                columns[:, column] = np.ravel(compute(estimator))
        return columns
