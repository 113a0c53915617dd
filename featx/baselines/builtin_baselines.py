"""The built-in baselines: their settings and tuning grids."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: Number of neighbors of nearest-neighbor baselines.
N_NEIGHBORS = 5


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An estimator that takes part in a comparison.

    Attributes
    ----------
    name : str
        Unique name in the comparison.
    make : callable
        Function that takes the number of training samples and returns an unfitted estimator.
    grid : mapping of str to sequence
        Parameter values to tune over. Values of ``gamma`` are multiples of ``gamma="scale"``.
    kernel : {"rbf", "linear", "nystroem"} or None, default=None
        Kernel of a support vector machine, or its approximation by Nystroem's method.
    prefix : str, default=""
        Prefix of the kernel's parameters, for example ``"regressor__"``.
    is_builtin : bool, default=False
        Whether this is a baseline of featx, whose settings suit any number of samples.
    is_calibrated : bool, default=False
        Whether probabilities come from a cross-validated sigmoid (Platt 1999).
    time_order : float or None, default=None
        Exponent with which the time of a fold grows with the number of samples. None: unknown.
    images : sequence or None, default=None
        Images to fit on instead of feature rows, one per sample. Empty if only the name of the estimator is known.
    needs_text : bool, default=False
        Whether the estimator compares rows with texts, and only its name is known.
    per_tag : Baseline or None, default=None
        Baseline that is fitted for each tag. None: labels are no tags.
    """

    name: str
    make: Callable[[int], Any]
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    kernel: str | None = None
    prefix: str = ""
    is_builtin: bool = False
    is_calibrated: bool = False
    time_order: float | None = None
    images: Sequence[Any] | None = None
    needs_text: bool = False
    per_tag: Baseline | None = None

    @property
    def is_precomputable(self) -> bool:
        """Whether the kernel can be precomputed."""
        return self.kernel in ("rbf", "linear")


def _dummy_classifier(n_train: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


def _logreg(n_train: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    # On standardized features this is C = 0.03 for 1,000 features and C = 8 for four. scikit-learn's default is 1.
    return _standardized(LogisticRegression(C=30, max_iter=1000))


def _svm(n_train: int) -> Any:
    from sklearn.svm import SVC

    # Without standardization, which amplifies features that are rarely active. Measured accuracy on aerial photos and
    # digits: 0.970 and 0.980 without, 0.963 and 0.957 with. gamma="scale" adapts to the scale of the features.
    # break_ties=True makes predict agree with the largest decision value.
    return SVC(C=10, break_ties=True)


def _linear_svm(n_train: int) -> Any:
    from sklearn.svm import SVC

    # A polynomial kernel of degree 1 is linear, and gamma="scale" adapts to the scale of the features. Measured
    # accuracy on aerial photos and digits: 0.968 and 0.978; LinearSVC on standardized features: 0.954 and 0.975, in
    # ten times the time.
    return SVC(kernel="poly", degree=1, C=10, break_ties=True)


def _knn(n_train: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(N_NEIGHBORS, n_train), metric="cosine", weights="distance")


def _ridge(n_train: int) -> Any:
    from sklearn.linear_model import RidgeClassifier

    return _standardized(RidgeClassifier(alpha=1))


def _lda(n_train: int) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")  # shrinkage of Ledoit and Wolf


def _centroid(n_train: int) -> Any:
    from sklearn.neighbors import NearestCentroid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    return make_pipeline(Normalizer(), NearestCentroid())


def _dummy_regressor(n_train: int) -> Any:
    from sklearn.dummy import DummyRegressor

    return DummyRegressor()


def _ridge_regression(n_train: int) -> Any:
    from sklearn.linear_model import Ridge

    return _standardized(Ridge(alpha=1))


def _svr(n_train: int) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    # C and epsilon are in units of the target. With a standardized target, the settings suit any target.
    return TransformedTargetRegressor(SVR(C=10), transformer=StandardScaler())


def _knn_regression(n_train: int) -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(min(N_NEIGHBORS, n_train), metric="cosine", weights="distance")


def _standardized(estimator: Any) -> Any:
    """Return a pipeline of standardized rows of mean squared norm 1, so that settings suit any number of features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(StandardScaler(), FunctionTransformer(scale_to_unit_length), estimator)


def scale_to_unit_length(X: Any) -> Any:
    """Divide standardized rows by the square root of the number of features, so that their mean squared norm is 1.

    One regularization strength then suits any number of features. Model files and pickles refer to this function as
    ``featx.scale_to_unit_length``.

    Parameters
    ----------
    X : ndarray of float of shape (n_samples, n_features)
        Standardized features.

    Returns
    -------
    ndarray of float of shape (n_samples, n_features)
        Scaled rows.

    See Also
    --------
    compare_baselines : Compare baselines, some of which use this function.

    Examples
    --------
    >>> import numpy as np
    >>> scale_to_unit_length(np.ones((1, 4)))
    array([[0.5, 0.5, 0.5, 0.5]])
    """
    return X / np.float32(np.sqrt(X.shape[1]))


scale_to_unit_length.__module__ = "featx"  # model files and pickles must not depend on where the code is


def is_unit_length_scaler(transformer: Any) -> bool:
    """Return whether a transformer applies :func:`scale_to_unit_length`."""
    return getattr(transformer, "func", None) is scale_to_unit_length


#: Scales of the RBF kernel to tune over, as multiples of gamma="scale".
GAMMAS = (0.3, 1.0, 3.0)
_NEIGHBORS = (1, 3, 5, 10, 20)
_ALPHAS = (0.001, 0.01, 0.1, 1, 10)
_builtin = functools.partial(Baseline, is_builtin=True)
BASELINES = {
    "classification": (
        _builtin("dummy", _dummy_classifier),
        _builtin("logreg", _logreg, {"logisticregression__C": (1, 10, 30, 100, 1000)}, time_order=1.1),
        _builtin("svm", _svm, {"C": (1, 10, 100), "gamma": GAMMAS}, kernel="rbf", time_order=2),
        _builtin("linear-svm", _linear_svm, {"C": (0.1, 1, 10)}, kernel="linear", time_order=2),
        _builtin("knn", _knn, {"n_neighbors": _NEIGHBORS}, time_order=2),
        _builtin("ridge", _ridge, {"ridgeclassifier__alpha": _ALPHAS}, time_order=1),
        _builtin("lda", _lda, time_order=1),
        _builtin("centroid", _centroid, time_order=1),
    ),
    "regression": (
        _builtin("dummy", _dummy_regressor),
        _builtin("ridge", _ridge_regression, {"ridge__alpha": _ALPHAS}, time_order=1),
        _builtin(
            "svr",
            _svr,
            {"regressor__C": (1, 10, 100), "regressor__gamma": GAMMAS},
            kernel="rbf",
            prefix="regressor__",
            time_order=2,
        ),
        _builtin("knn", _knn_regression, {"n_neighbors": _NEIGHBORS}, time_order=2),
    ),
}
#: Names of the built-in baselines of each task, in display order. "dummy" scores what guessing would.
NAMES = {task: tuple(baseline.name for baseline in baselines) for task, baselines in BASELINES.items()}
#: Names of the baselines that are compared by default.
DEFAULT_NAMES = {"classification": ("dummy", "logreg", "svm", "knn"), "regression": NAMES["regression"]}
#: The tasks. "multilabel" (several labels for each sample) takes classifiers, one for each label.
TASKS = ("auto", *NAMES, "multilabel")
