"""The scikit-learn estimators that are compared, by name: their settings and what may be tuned in them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from featx.errors import OptionError, did_you_mean

#: What `estimators=` takes: names, scikit-learn estimators, or a mapping of names to estimators.
EstimatorsLike: TypeAlias = "Sequence[Any] | Mapping[str, Any]"

#: The one that is fitted on images: a network tuned to them, :class:`featx.FineTunedClassifier`.
FINE_TUNE = "fine-tune"
_NEIGHBOURS = 5


@dataclasses.dataclass(frozen=True)
class Baseline:
    """One of the estimators that are compared.

    Attributes
    ----------
    name : str
    make : callable
        Takes the number of rows it will be fitted on, returns the unfitted estimator.
    grid : mapping of str to list
        Values that tuning chooses from. ``gamma`` is in multiples of what ``gamma="scale"`` would be.
    kernel : {"rbf", "linear"} or None, default=None
        Of a support vector machine whose kernel can be computed beforehand.
    prefix : str, default=""
        Where its kernel is among its parameters.
    is_builtin : bool, default=False
        It is one of featx's own, whose settings suit any number of rows.
    is_calibrated : bool, default=False
        Its scores are made probabilities by a sigmoid (Platt 1999) that is fitted to rows that it was not fitted on.
    images : sequence or None, default=None
        What it is fitted on in the place of rows of features: an image for each; none at all if it was only named.
    """

    name: str
    make: Callable[[int], Any]
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    kernel: str | None = None
    prefix: str = ""
    is_builtin: bool = False
    is_calibrated: bool = False
    images: Sequence[Any] | None = None


def _dummy_classifier(n_train: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


def _logreg(n_train: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    # Of a thousand features this is C = 0.03, far more shrinkage than scikit-learn's C = 1; of four, C = 8.
    return _standardised(LogisticRegression(C=30, max_iter=1000))


def _svm(n_train: int) -> Any:
    from sklearn.svm import SVC

    # Not standardised: that blows up features which hardly ever fire. Measured on aerial photos and
    # digits, accuracy 0.970 and 0.980 against 0.963 and 0.957; gamma="scale" sees to the units.
    # Ties are broken by the scores, so that whatever writes these decides the same.
    return SVC(C=10, break_ties=True)


def _linear_svm(n_train: int) -> Any:
    from sklearn.svm import SVC

    # A polynomial of degree 1 is linear, and gamma="scale" sees to the units. Measured: as accurate as LinearSVC on
    # standardised features or better (0.968 and 0.978 against 0.954 and 0.975), in a tenth of the time.
    return SVC(kernel="poly", degree=1, C=10, break_ties=True)


def _knn(n_train: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(_NEIGHBOURS, n_train), metric="cosine", weights="distance")


def _ridge(n_train: int) -> Any:
    from sklearn.linear_model import RidgeClassifier

    return _standardised(RidgeClassifier(alpha=1))


def _lda(n_train: int) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")  # Ledoit and Wolf choose the shrinkage


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

    return _standardised(Ridge(alpha=1))


def _svr(n_train: int) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    # C and epsilon are in units of the target: standardised, the settings suit any.
    return TransformedTargetRegressor(SVR(C=10), transformer=StandardScaler())


def _knn_regression(n_train: int) -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(min(_NEIGHBOURS, n_train), metric="cosine", weights="distance")


def _standardised(estimator: Any) -> Any:
    """Return an estimator of standardised rows of length one on average, whose shrinkage then suits any width."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(StandardScaler(), FunctionTransformer(scale_to_unit_length), estimator)


def scale_to_unit_length(X: Any) -> Any:
    """Divide standardized rows by the square root of their length, so that their mean squared norm is 1.

    One regularization strength then suits any number of features. Model files and pickles refer to this function as
    ``featx.scale_to_unit_length``.

    Parameters
    ----------
    X : ndarray of float of shape (n_samples, n_features)
        Standardized features.

    Returns
    -------
    ndarray of float of shape (n_samples, n_features)
        The scaled rows.

    See Also
    --------
    compare_baselines : Compare estimators, some of which use this function.

    Examples
    --------
    >>> scale_to_unit_length(np.ones((1, 4)))
    array([[0.5, 0.5, 0.5, 0.5]])
    """
    return X / np.float32(np.sqrt(X.shape[1]))


scale_to_unit_length.__module__ = "featx"  # model files and pickles must not depend on where the code is


def is_unit_length_scaler(transformer: Any) -> bool:
    """Return whether a transformer is the one that makes standardised rows of length one on average."""
    return getattr(transformer, "func", None) is scale_to_unit_length


def _fine_tune(n_train: int) -> Any:
    raise OptionError(
        f"{FINE_TUNE!r} is fitted on images, and not on features: pass them to compare_images (featx compare), or use "
        "FineTunedClassifier."
    )


def is_fine_tune(estimator: Any) -> bool:
    """Return whether this is the name of the estimator that is fitted on images."""
    return isinstance(estimator, str) and estimator == FINE_TUNE


_GAMMAS = (0.3, 1.0, 3.0)
_KS = (1, 3, 5, 10, 20)
_ALPHAS = (0.001, 0.01, 0.1, 1, 10)
_own = functools.partial(Baseline, is_builtin=True)
_BASELINES = {
    "classification": (
        _own("dummy", _dummy_classifier),
        _own("logreg", _logreg, {"logisticregression__C": (1, 10, 30, 100, 1000)}),
        _own("svm", _svm, {"C": (1, 10, 100), "gamma": _GAMMAS}, kernel="rbf"),
        _own("linear-svm", _linear_svm, {"C": (0.1, 1, 10)}, kernel="linear"),
        _own("knn", _knn, {"n_neighbors": _KS}),
        _own("ridge", _ridge, {"ridgeclassifier__alpha": _ALPHAS}),
        _own("lda", _lda),
        _own("centroid", _centroid),
    ),
    "regression": (
        _own("dummy", _dummy_regressor),
        _own("ridge", _ridge_regression, {"ridge__alpha": _ALPHAS}),
        _own(
            "svr",
            _svr,
            {"regressor__C": (1, 10, 100), "regressor__gamma": _GAMMAS},
            kernel="rbf",
            prefix="regressor__",
        ),
        _own("knn", _knn_regression, {"n_neighbors": _KS}),
    ),
}
#: Names of all baselines of a task, in the order they are shown. The dummy says what guessing would score.
NAMES = {task: tuple(baseline.name for baseline in baselines) for task, baselines in _BASELINES.items()}
#: Those that are compared unless others are asked for.
DEFAULT_NAMES = {"classification": ("dummy", "logreg", "svm", "knn"), "regression": NAMES["regression"]}
TASKS = ("auto", *NAMES)


def make_baseline(name: str, n_train: int | None = None, *, task: str = "classification") -> Any:
    """Return an unfitted baseline, with settings that do well unattended on frozen features.

    Parameters
    ----------
    name : str
        For classification ``dummy`` (most frequent class), ``logreg`` (C = 30, on standardised features
        divided by the root of their number), ``svm``
        (RBF, C = 10), ``linear-svm`` (C = 10), ``knn`` (the 5 nearest by cosine, weighted by distance), ``ridge``
        (alpha = 1, on the same), ``lda`` (with shrinkage), ``centroid`` (nearest, of rows of length
        1). For regression ``dummy`` (the mean), ``ridge``, ``svr`` (RBF, on a standardised target) and ``knn``. The
        name of any class of scikit-learn, ``RandomForestClassifier`` say, gives one with its own defaults.
    n_train : int or None, default=None
        Rows it will be fitted on, where that may be fewer than 5.
    task : {"classification", "regression"}, default="classification"

    Raises
    ------
    OptionError
        Nothing has this name; the nearest one is suggested.

    Examples
    --------
    >>> make_baseline("logreg")  # doctest: +ELLIPSIS
    Pipeline(steps=[('standardscaler', StandardScaler()),
                    ('functiontransformer',
                     FunctionTransformer(func=<function scale_to_unit_length at ...>)),
                    ('logisticregression',
                     LogisticRegression(C=30, max_iter=1000))])
    >>> make_baseline("RandomForestClassifier")
    RandomForestClassifier()
    """
    return _named(name, task).make(n_train or _NEIGHBOURS)


def as_baselines(estimators: EstimatorsLike | None, task: str, random_state: int) -> list[Baseline]:
    """Return what is to be compared, each with a name of its own.

    Parameters
    ----------
    estimators : sequence of str, estimator or Baseline, mapping of str to estimator, or None
        Names as for :func:`make_baseline`; scikit-learn estimators are called by their class; what this returned
        before is taken as it is. None is :data:`DEFAULT_NAMES`.
    task : {"classification", "regression"}
    random_state : int
        For estimators that are random and have none set.

    Raises
    ------
    OptionError
        None at all, an unknown name, or something that is no scikit-learn estimator for this task.
    """
    if estimators is None:
        estimators = DEFAULT_NAMES[task]
    if isinstance(estimators, str) or not len(estimators):
        raise OptionError(
            f"estimators={estimators!r}: expected a list of estimators, or of names from {', '.join(NAMES[task])}."
        )
    pairs = estimators.items() if isinstance(estimators, Mapping) else [("", estimator) for estimator in estimators]
    found: dict[str, Baseline] = {}
    for given, estimator in pairs:
        if isinstance(estimator, Baseline):
            found[estimator.name] = estimator
            continue
        if isinstance(estimator, str):
            baseline = _named(estimator, task)
            if not given and baseline.name in found:
                continue  # the same name twice
        else:
            baseline = Baseline(type(estimator).__name__, _copies_of(estimator, task))
        name, number = given or baseline.name, 1
        while name in found:
            number += 1
            name = f"{given or baseline.name}-{number}"
        is_builtin = baseline.is_builtin and name == baseline.name
        make = _seeded(baseline.make, random_state)
        found[name] = dataclasses.replace(baseline, name=name, make=make, is_builtin=is_builtin)
    return list(found.values())


def _named(name: str, task: str) -> Baseline:
    for baseline in _BASELINES[task]:
        if baseline.name == name:
            return baseline
    known = [*NAMES[task], *([FINE_TUNE] if task == "classification" else [])]
    if is_fine_tune(name) and name in known:
        return Baseline(FINE_TUNE, _fine_tune, images=())
    if str(name).isidentifier() and str(name)[0].isupper():
        from sklearn.utils import all_estimators

        classes = dict(all_estimators(type_filter="classifier" if task == "classification" else "regressor"))
        if name in classes:
            make = _made_of(classes[name])
            make(_NEIGHBOURS)  # raises if it cannot be made
            return Baseline(name, make)
        hint = did_you_mean(name, [*classes, *NAMES[task]])
        raise OptionError(f"scikit-learn has no estimator {name!r} for {task}.{hint} Check the spelling.")
    hint = did_you_mean(str(name), known)
    raise OptionError(
        f"Unknown estimator {name!r} for {task}.{hint} Expected one of: {', '.join(known)}; or the name of a "
        "class of scikit-learn."
    )


def _made_of(kind: Any) -> Callable[[int], Any]:
    def make(n_train: int) -> Any:
        try:
            return kind()
        except TypeError as error:  # VotingClassifier and its like want estimators of their own
            raise OptionError(
                f"{kind.__name__} cannot be made without arguments: {error}. Pass an instance from Python."
            ) from error

    return make


def _copies_of(estimator: Any, task: str) -> Callable[[int], Any]:
    from sklearn.base import clone, is_classifier, is_regressor

    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise OptionError(f"{estimator!r} is no scikit-learn estimator. Pass an instance, or a name.")
    fits = is_classifier(estimator) if task == "classification" else is_regressor(estimator)
    if not fits:
        raise OptionError(
            f"{type(estimator).__name__} is no estimator for {task}. Pass one that is, or another task "
            f"({', '.join(NAMES)})."
        )
    return lambda n_train: clone(estimator)


def _seeded(make: Callable[[int], Any], random_state: int) -> Callable[[int], Any]:
    def seeded(n_train: int) -> Any:
        estimator = make(n_train)
        params = estimator.get_params()
        unset = [name for name in params if name.split("__")[-1] == "random_state" and params[name] is None]
        return estimator.set_params(**dict.fromkeys(unset, random_state))

    return seeded
