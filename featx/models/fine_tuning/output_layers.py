"""The output layer that a network starts with: logistic regression on its features, as one kernel and bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.estimators import make_baseline
from featx.models.head.from_sklearn import as_head
from featx.system.array_types import FloatArray


def output_layer(
    X: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], *, C: float, class_weight: Any
) -> tuple[FloatArray, FloatArray]:
    """Return the baseline ``logreg`` of features as a layer: ``X @ kernel + bias`` are its decision values.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
    codes : ndarray of int, shape (n_samples,)
        Classes, as numbers from 0.
    C : float
        As of :func:`featx.baselines.estimators.make_baseline`, 30 there.
    class_weight : dict of int to float, "balanced" or None

    Returns
    -------
    kernel : ndarray of float32, shape (n_features, n_classes)
    bias : ndarray of float32, shape (n_classes,)
        Of two classes, half of the one decision value to either side: the softmax gives the same probabilities.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    >>> kernel, bias = output_layer(X, np.arange(9) % 3, C=30, class_weight=None)
    >>> logreg = make_baseline("logreg").fit(X, np.arange(9) % 3)
    >>> bool(np.allclose(X @ kernel + bias, logreg.decision_function(X), atol=1e-4))
    True
    """
    pipeline = make_baseline("logreg")
    pipeline.set_params(logisticregression__C=C, logisticregression__class_weight=class_weight).fit(X, codes)
    affine = as_head(pipeline).affine
    assert affine is not None  # it is linear
    kernel, bias = affine.weights, affine.bias
    if len(bias) == 1:
        kernel, bias = (np.concatenate([-one / 2, one / 2], axis=-1) for one in (kernel, bias))
    return kernel.astype(np.float32), bias.astype(np.float32)
