"""Classifiers in the style of other libraries: each deviates from scikit-learn in its own way."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import NearestCentroid


class CodedClassifier(ClassifierMixin, BaseEstimator):
    """Takes the classes 0, 1, 2, … only, as XGBoost does, and returns predictions of shape (n, 1), as CatBoost does."""

    def fit(self, X: Any, y: Any) -> CodedClassifier:
        self.classes_ = np.unique(y)
        if self.classes_.tolist() != list(range(len(self.classes_))):
            raise ValueError(f"Expected: {list(range(len(self.classes_)))}, got {self.classes_.tolist()}")
        self.means_ = np.stack([X[y == code].mean(axis=0) for code in self.classes_])
        return self

    def predict(self, X: Any) -> Any:
        return self.predict_proba(X).argmax(axis=1)[:, None].astype(np.float32)

    def predict_proba(self, X: Any) -> Any:
        distances = ((X[:, None] - self.means_) ** 2).sum(axis=2)
        values = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return values / values.sum(axis=1, keepdims=True)


class UnboundedClassifier(CodedClassifier):
    """Predicts a class that does not exist."""

    def predict(self, X: Any) -> Any:
        return np.full(len(X), 7)


class NanClassifier(CodedClassifier):
    """Its probabilities are NaN."""

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), len(self.classes_)), np.nan)

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))


class TwoColumnsClassifier(NearestCentroid):
    """Its predictions have two columns."""

    def predict(self, X: Any) -> Any:
        return np.zeros((len(X), 2))


class NeedsArguments(CodedClassifier):
    """Cannot be created without arguments."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


def function(X: Any) -> Any:
    """Not a class."""
    return X
