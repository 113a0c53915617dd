"""One-vs-rest: a binary classifier for each tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from featx.baselines.scaling.gcv_ridge import GcvRidgeClassifier
from featx.datasets.tags import TagMatrix, Tags, as_tags, tag_matrix, tag_names, tags_of_matrix
from featx.errors import ComparisonError
from featx.system.array_types import AnyArray, Float64Array, IntArray
from featx.system.sklearn_compat import num_samples


def _as_tags(y: Any) -> AnyArray:
    """Return the tags of each sample; raise ComparisonError if there are none for a sample."""
    tags = as_tags(list(y) if isinstance(y, Iterable) and not hasattr(y, "shape") else y, allow_one_hot=True)
    if tags is None or any(not isinstance(names, Tags) for names in tags):
        raise ComparisonError(
            "y must be the tags of each sample: lists of str, or a matrix of 0 and 1. Pass an empty list for a sample "
            "without tags, and drop samples whose tags are unknown."
        )
    return tags


#: Transformers that ignore targets: they are fitted, and transform, once for all tags.
_UNSUPERVISED = (FunctionTransformer, MinMaxScaler, Normalizer, Nystroem, PCA, RobustScaler, StandardScaler)
#: Classifiers that take a column of targets for each tag, with the same results.
_MULTI_OUTPUT = (KNeighborsClassifier, GcvRidgeClassifier)


def _fit_tags(estimator: Any, X: Any, columns: TagMatrix) -> tuple[list[Any], IntArray]:
    """Return a fitted classifier for each column, 1 if all samples have the tag; or one classifier and its columns."""
    transformers, last = _shared_steps(estimator)
    fitted = [(name, clone(transformer)) for name, transformer in transformers]
    for _, transformer in fitted:
        X = transformer.fit_transform(X)

    def with_steps(classifier: Any) -> Any:
        return Pipeline([*fitted, (estimator.steps[-1][0], classifier)]) if fitted else classifier

    is_known = [bool(column.all()) for column in columns.T]
    unknown = np.flatnonzero(np.invert(is_known))
    if type(last) in _MULTI_OUTPUT and len(unknown) > 1:  # scikit-learn takes a single column for classes
        return [with_steps(clone(last).fit(X, columns[:, unknown].astype(np.int64)))], unknown
    classifiers = [
        1 if known else with_steps(clone(last).fit(X, column.astype(np.int64)))
        for column, known in zip(columns.T, is_known, strict=True)
    ]
    return classifiers, unknown[:0]


def _shared_steps(estimator: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return the transformers of a pipeline that do not depend on the tag, and what does."""
    if type(estimator) is not Pipeline or estimator.memory is not None:
        return [], estimator
    steps = estimator.steps
    if not all(type(transformer) in _UNSUPERVISED for _, transformer in steps[:-1]):
        return [], estimator
    return steps[:-1], steps[-1][1]


def _as_binary(values: Any) -> AnyArray:
    """Return the decision values of the second class, also of a classifier with a column for each of two classes."""
    columns = np.asarray(values)
    return columns[:, 1] - columns[:, 0] if columns.ndim == 2 and columns.shape[1] == 2 else columns


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
    joint_tags_ : ndarray of int of shape (n_joint_tags,)
        Columns that one classifier predicts, which is then the only one in `estimators_`: nearest neighbors, which are
        searched for once. Empty for others.
    n_features_in_ : int
        Number of features of the training samples.

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
        tags = _as_tags(y)
        names = tag_names(tags)
        if not names:
            raise ComparisonError("y must have at least one tag, got none. Add samples with tags.")
        self.classes_ = np.array(names)
        self.estimators_, self.joint_tags_ = _fit_tags(self.estimator, X, tag_matrix(tags, names))
        self.n_features_in_ = np.shape(X)[1]
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the subset accuracy: the fraction of samples whose tags are all predicted correctly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_tags)
            Tags of each sample, as in :meth:`fit`.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the samples.

        Returns
        -------
        float
            Subset accuracy.
        """
        predicted = tags_of_matrix(self.predict(X), self.classes_)
        is_right = [true == guess for true, guess in zip(_as_tags(y), predicted, strict=True)]
        return float(np.average(is_right, weights=sample_weight))

    def predict(self, X: Any) -> IntArray:
        """Predict tags as a binary indicator matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of int of shape (n_samples, n_tags)
            Columns are `classes_`.
        """
        return self._columns(X, "predict", np.int64)

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
        return self._columns(X, "predict_proba")

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
        return self._columns(X, "decision_function")

    def _columns(self, X: Any, method: str, dtype: Any = np.float64) -> AnyArray:
        check_is_fitted(self)
        columns = np.ones((num_samples(X), len(self.classes_)), dtype=dtype)
        fitted = [
            (index, *_shared_steps(part)) for index, part in enumerate(self.estimators_) if not isinstance(part, int)
        ]
        for _, transformer in fitted[0][1] if fitted else []:  # those of all tags are the same
            X = transformer.transform(X)
        joint_tags = getattr(self, "joint_tags_", ())  # models of earlier versions have none
        if len(joint_tags):
            values = getattr(fitted[0][2], method)(X)
            is_list = isinstance(values, list)  # of probabilities
            columns[:, joint_tags] = np.stack([value[:, 1] for value in values], axis=1) if is_list else values
            return columns
        for index, _, classifier in fitted:
            values = getattr(classifier, method)(X)
            columns[:, index] = np.ravel(values[:, 1] if method == "predict_proba" else _as_binary(values))
        return columns
