"""Estimators by the name of their class: of scikit-learn, or with its module, such as ``xgboost.XGBClassifier``."""

from __future__ import annotations

import importlib
from typing import Any

from featx.errors import OptionError, did_you_mean
from featx.system.formatting import first_line

#: Parameters without which a library writes to standard output or into the working directory, by its name.
_QUIET: dict[str, dict[str, Any]] = {
    "catboost": {"verbose": False, "allow_writing_files": False},
    "lightgbm": {"verbose": -1},
    "xgboost": {"verbosity": 0},
}
#: Packages to install, where the name is another than that of the module.
_PACKAGES = {"sklearn": "scikit-learn"}


def is_dotted_name(name: str) -> bool:
    """Return whether a name is that of a module and a class in it.

    Examples
    --------
    >>> is_dotted_name("xgboost.XGBClassifier"), is_dotted_name("logreg"), is_dotted_name("linear-svm.")
    (True, False, False)
    """
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def import_class(name: str) -> type:
    """Return a class by its full name.

    Raises
    ------
    OptionError
        The module cannot be imported, or has no such class.

    Examples
    --------
    >>> import_class("sklearn.svm.SVC").__name__
    'SVC'
    """
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if missing == module_name.partition(".")[0]:
            remedy = f"Install it: pip install {_PACKAGES.get(missing, missing)}"
        else:
            remedy = "Check the spelling, or install what is missing."
        raise OptionError(f"Cannot use estimator {name!r}: there is no module {missing!r}. {remedy}") from error
    except Exception as error:  # a module may raise anything when it is imported
        raise OptionError(
            f"Cannot use estimator {name!r}: importing {module_name!r} failed ({first_line(error)}). Fix the module, "
            "or choose another estimator."
        ) from error
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and hasattr(value, "fit")]
        hint = did_you_mean(class_name, classes)
        raise OptionError(f"The module {module_name!r} has no class {class_name!r}.{hint} Check the spelling.")
    return cls


def is_class_name(name: str) -> bool:
    """Return whether a name is that of a class of scikit-learn or, with its module, of another library.

    Examples
    --------
    >>> [is_class_name(name) for name in ("logreg", "RandomForestClassifier", "xgboost.XGBClassifier")]
    [False, True, True]
    """
    return is_dotted_name(name) or (name.isidentifier() and name[0].isupper())


def make_by_class_name(name: str) -> Any:
    """Return an unfitted estimator of the class of this name, for any task.

    Raises
    ------
    OptionError
        There is no such class, or it has required arguments.

    Examples
    --------
    >>> make_by_class_name("sklearn.svm.SVC"), make_by_class_name("Ridge")
    (SVC(), Ridge())
    """
    from sklearn.utils import all_estimators

    if is_dotted_name(name):
        return make_instance(import_class(name))
    classes = dict(all_estimators())
    if name not in classes:
        raise OptionError(
            f"Unknown scikit-learn estimator {name!r}.{did_you_mean(name, classes)} Check the spelling. For a class of "
            f"another library, pass its full name, such as xgboost.{name}."
        )
    return make_instance(classes[name])


def make_instance(cls: Any) -> Any:
    """Return an unfitted estimator with default parameters, of which some are set so that it writes no messages.

    Raises
    ------
    OptionError
        The class has required arguments.
    """
    try:
        return cls(**_QUIET.get(cls.__module__.partition(".")[0], {}))
    except TypeError as error:  # meta-estimators such as VotingClassifier
        raise OptionError(
            f"Cannot create {cls.__name__} without arguments: {first_line(error)}. Pass an instance from Python."
        ) from error
