"""Estimators of a comparison by name: built-in baselines, scikit-learn classes and estimators of the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from featx.baselines.builtin_baselines import BASELINES, DEFAULT_NAMES, N_NEIGHBORS, NAMES, TASKS, Baseline
from featx.baselines.libraries.classes import is_class_name, is_dotted_name, make_by_class_name, make_instance
from featx.baselines.multilabel.one_vs_rest import one_vs_rest
from featx.errors import OptionError, did_you_mean
from featx.system.option_checks import check_choice

#: What ``estimators=`` accepts: names, scikit-learn estimators, or a mapping of names to estimators.
EstimatorsLike: TypeAlias = "Sequence[Any] | Mapping[str, Any]"
TaskOption: TypeAlias = Literal["auto", "classification", "regression", "multilabel"]

#: Name of the estimator that is trained on images instead of features: :class:`featx.FineTunedClassifier`.
FINE_TUNE = "fine-tune"
#: Name of the estimator that compares images with texts: :class:`featx.ZeroShotClassifier`.
ZERO_SHOT = "zero-shot"


def is_fine_tune(estimator: Any) -> bool:
    """Return whether this is the name of the estimator that is trained on images."""
    return isinstance(estimator, str) and estimator == FINE_TUNE


def is_zero_shot(estimator: Any) -> bool:
    """Return whether this is the name of the estimator that compares images with texts."""
    return isinstance(estimator, str) and estimator == ZERO_SHOT


def check_task(task: str) -> None:
    """Raise an :class:`OptionError` if `task` is unknown."""
    check_choice("task", task, TASKS)


def make_baseline(name: str, n_train: int | None = None, *, task: str = "classification") -> Any:
    """Return an unfitted baseline with settings that suit frozen features without tuning.

    Parameters
    ----------
    name : str
        Name of a baseline, of a scikit-learn class such as ``RandomForestClassifier``, or of a class of another library
        such as ``xgboost.XGBClassifier``, which gets its default parameters.

        Classification:

        - ``dummy``: most frequent class;
        - ``logreg``: logistic regression with C = 30 on standardized rows of mean squared norm 1;
        - ``svm``: support vector machine with RBF kernel and C = 10;
        - ``linear-svm``: support vector machine with linear kernel and C = 10;
        - ``knn``: 5 nearest neighbors by cosine distance, weighted by distance;
        - ``ridge``: ridge classifier with alpha = 1, on the same rows as ``logreg``;
        - ``lda``: linear discriminant analysis with the shrinkage of Ledoit and Wolf;
        - ``centroid``: nearest centroid of rows of norm 1.

        Regression: ``dummy`` (mean), ``ridge``, ``svr`` (RBF kernel, standardized target) and ``knn``.
    n_train : int or None, default=None
        Number of training samples. It limits the number of neighbors. None: at least 5.
    task : {"classification", "regression"}, default="classification"
        Type of the target.

    Returns
    -------
    estimator
        Unfitted scikit-learn estimator.

    Raises
    ------
    OptionError
        If there is no such baseline or class.

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
    return _baseline_by_name(name, task).make(n_train or N_NEIGHBORS)


def as_baselines(estimators: EstimatorsLike | None, task: str, random_state: int) -> list[Baseline]:
    """Return baselines with unique names.

    Parameters
    ----------
    estimators : sequence of str, estimator or Baseline, mapping of str to estimator, or None
        Names as in :func:`make_baseline`. Estimators without a name are named after their class. A
        :class:`Baseline` is used as it is. None: :data:`DEFAULT_NAMES`.
    task : {"classification", "regression", "multilabel"}
        Type of the target. "multilabel": classifiers, each of which is fitted for one tag after the other.
    random_state : int
        Seed for estimators with ``random_state=None``.

    Returns
    -------
    list of Baseline
        In the order of `estimators`. A name that is repeated counts once.

    Raises
    ------
    OptionError
        If `estimators` is empty, or contains an unknown name or an object that is not a scikit-learn estimator for
        this task.
    """
    if task == "multilabel":
        return list(map(one_vs_rest, as_baselines(estimators, "classification", random_state)))
    if estimators is None:
        estimators = DEFAULT_NAMES[task]
    if isinstance(estimators, str) or not len(estimators):
        raise OptionError(
            f"estimators must be a non-empty list of estimators or names, got {estimators!r}. Names for {task}: "
            f"{', '.join(NAMES[task])}."
        )
    pairs = estimators.items() if isinstance(estimators, Mapping) else [("", estimator) for estimator in estimators]
    baselines: dict[str, Baseline] = {}
    for given_name, estimator in pairs:
        if isinstance(estimator, Baseline):
            baselines[estimator.name] = estimator
            continue
        if isinstance(estimator, str):
            baseline = _baseline_by_name(estimator, task)
            if not given_name and baseline.name in baselines:
                continue
        else:
            baseline = Baseline(type(estimator).__name__, _clone_factory(estimator, task))
        name = _unique_name(given_name or baseline.name, baselines)
        is_builtin = baseline.is_builtin and name == baseline.name
        make = _with_seed(baseline.make, random_state)
        baselines[name] = dataclasses.replace(baseline, name=name, make=make, is_builtin=is_builtin)
    return list(baselines.values())


def _unique_name(name: str, used_names: Mapping[str, Baseline]) -> str:
    unique, number = name, 1
    while unique in used_names:
        number += 1
        unique = f"{name}-{number}"
    return unique


def _baseline_by_name(name: str, task: str) -> Baseline:
    for baseline in BASELINES[task]:
        if baseline.name == name:
            return baseline
    known_names = [*NAMES[task], *([FINE_TUNE, ZERO_SHOT] if task == "classification" else [])]
    if is_fine_tune(name) and name in known_names:
        return Baseline(FINE_TUNE, _fine_tune, images=())
    if is_zero_shot(name) and name in known_names:
        return Baseline(ZERO_SHOT, _zero_shot, needs_text=True)
    if is_dotted_name(str(name)):
        return Baseline(name, _clone_factory(make_by_class_name(name), task))
    if is_class_name(str(name)):
        return _scikit_learn_baseline(name, task)
    hint = did_you_mean(str(name), known_names)
    raise OptionError(
        f"Unknown estimator {name!r} for {task}.{hint} Use one of {', '.join(known_names)}, the name of a scikit-learn "
        "class, or the full name of a class of another library, such as xgboost.XGBClassifier."
    )


def _scikit_learn_baseline(class_name: str, task: str) -> Baseline:
    from sklearn.utils import all_estimators

    classes = dict(all_estimators(type_filter="classifier" if task == "classification" else "regressor"))
    if class_name not in classes:
        hint = did_you_mean(class_name, [*classes, *NAMES[task]])
        raise OptionError(
            f"Unknown scikit-learn estimator {class_name!r} for {task}.{hint} Check the spelling. For a class of "
            f"another library, pass its full name, such as xgboost.{class_name}."
        )
    cls = classes[class_name]
    make_instance(cls)  # raises if the class has required arguments
    return Baseline(class_name, lambda n_train: make_instance(cls))


def _clone_factory(estimator: Any, task: str) -> Callable[[int], Any]:
    from sklearn.base import clone, is_classifier, is_regressor

    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise OptionError(
            f"estimators must contain scikit-learn estimators or names, got {estimator!r}. Pass for example "
            "['logreg', SVC()]."
        )
    is_suitable = is_classifier(estimator) if task == "classification" else is_regressor(estimator)
    if not is_suitable:
        raise OptionError(
            f"{type(estimator).__name__} is not an estimator for {task}. Pass another estimator, or another task "
            f"({', '.join(NAMES)})."
        )
    if task == "classification":
        from featx.baselines.libraries.label_encoding import LabelEncodedClassifier, needs_encoding

        if needs_encoding(estimator):
            return lambda n_train: LabelEncodedClassifier(clone(estimator))
    return lambda n_train: clone(estimator)


def _with_seed(make: Callable[[int], Any], random_state: int) -> Callable[[int], Any]:
    def make_with_seed(n_train: int) -> Any:
        estimator = make(n_train)
        params = estimator.get_params()
        unset = [name for name in params if name.split("__")[-1] == "random_state" and params[name] is None]
        return estimator.set_params(**dict.fromkeys(unset, random_state))

    return make_with_seed


def _fine_tune(n_train: int) -> Any:
    raise OptionError(
        f"Cannot fit {FINE_TUNE!r} on features: it needs images. Use compare_images (featx compare) or "
        "FineTunedClassifier."
    )


def _zero_shot(n_train: int) -> Any:
    raise OptionError(
        f"Cannot fit {ZERO_SHOT!r} by name on an array: its backbone is unknown. Pass "
        "featx.ZeroShotClassifier(backbone), or use compare_images (featx compare)."
    )
