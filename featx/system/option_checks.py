"""Check of parameters whose errors read the same everywhere: one of several values, or an integer of at least N."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from typing import Any

from featx.errors import OptionError, did_you_mean


def name_with_option(name: str) -> str:
    """Return the name of a parameter, followed by its option of the command line.

    Examples
    --------
    >>> name_with_option("on_error")
    'on_error (--on-error)'
    """
    return f"{name} (--{name.replace('_', '-')})"


def check_choice(
    name: str, value: object, choices: Iterable[str], *, is_option: bool = True, allow_none: bool = False
) -> None:
    """Raise an error if a parameter is not one of several values.

    Parameters
    ----------
    name : str
        Name of the parameter.
    value : object
        Its value.
    choices : iterable of str
        Valid values.
    is_option : bool, default=True
        Whether the command line has an option of this name.
    allow_none : bool, default=False
        Whether None is valid, too.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> check_choice("method", "ridgo", ["ridge", "knn"], is_option=False)
    Traceback (most recent call last):
    featx.errors.OptionError: method must be 'ridge' or 'knn', got 'ridgo'. Did you mean 'ridge'?
    """
    known = list(choices)
    if (allow_none and value is None) or (isinstance(value, str) and value in known):
        return
    expected = " or ".join(map(repr, known)) if len(known) < 3 else f"one of {', '.join(map(repr, known))}"
    raise OptionError(
        f"{name_with_option(name) if is_option else name} must be {'None or ' if allow_none else ''}{expected}, got "
        f"{value!r}.{did_you_mean(str(value), known)}"
    )


def as_list(name: str, values: object) -> list[Any]:
    """Return the items of a parameter that must be a list of at least one item, and no single string.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> as_list("backbones", "mobilenet")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    featx.errors.OptionError: backbones must be a list of at least one item, got 'mobilenet'. Pass ...
    """
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
        raise OptionError(f"{name} must be a list of at least one item, got {values!r}. Pass {name}=[{values!r}].")
    items = list(values)
    if not items:
        raise OptionError(f"{name} must be a list of at least one item, got {values!r}. Omit it to use the default.")
    return items


def as_path(name: str, value: object) -> str:
    """Return a parameter that must be a path or URL as a str.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> as_path("output", 5)
    Traceback (most recent call last):
    featx.errors.OptionError: output must be a path, got 5.
    """
    if not isinstance(value, str | os.PathLike):
        raise OptionError(f"{name} must be a path, got {value!r}.")
    return str(os.fspath(value))


def is_integer(value: object, minimum: int | None = None) -> bool:
    """Return whether a value is an integer, and not below a minimum; booleans are none.

    Examples
    --------
    >>> is_integer(3, 1), is_integer(0, 1), is_integer(True), is_integer(3.0)
    (True, False, False, False)
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        return False
    return minimum is None or int(value) >= minimum


def check_integer(
    name: str, value: object, minimum: int = 1, maximum: int | None = None, *, is_option: bool = True, remedy: str = ""
) -> None:
    """Raise an error if a parameter is not an integer of at least a minimum, and at most a maximum if there is one.

    Parameters
    ----------
    name : str
        Name of the parameter.
    value : object
        Its value.
    minimum : int, default=1
        Smallest valid value.
    maximum : int or None, default=None
        Largest valid value.
    is_option : bool, default=True
        Whether the command line has an option of this name.
    remedy : str, default=""
        Last sentence of the error.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> check_integer("top", 0)
    Traceback (most recent call last):
    featx.errors.OptionError: top (--top) must be an integer of at least 1, got 0.
    """
    if not is_integer(value, minimum) or (maximum is not None and int(value) > maximum):  # type: ignore[call-overload]
        expected = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum:,}"
        raise OptionError(
            f"{name_with_option(name) if is_option else name} must be an integer {expected}, got {value!r}."
            f"{remedy and f' {remedy}'}"
        )
