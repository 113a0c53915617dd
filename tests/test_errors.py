from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

from featx import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES)
def test_docstring_lists_every_class(kind: type) -> None:
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, errors.FeatxError)])
def test_errors_are_builtin_errors_too(kind: type) -> None:
    if kind is not errors.FeatxError:
        builtin = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert builtin[0] is not Exception


def test_unreadable_image_message() -> None:
    message = str(errors.UnreadableImageError("it is empty", "a.jpg", 3))
    assert message.startswith("Cannot read image 'a.jpg' (index 3): it is empty.")
    assert 'on_error="skip" (--on-error skip; "nan" in FeatureExtractor)' in message


def test_long_values_in_messages_are_shortened() -> None:
    value = "x" * 74_000
    for error in (
        errors.SourceError(f"Cannot read {value!r}: it is long."),
        errors.UnreadableImageError(f"no {value!r}"),
    ):
        assert 300 < len(str(error)) < 600
        assert "xxx…xxx" in str(error)


def test_unreadable_image_is_picklable() -> None:
    error = pickle.loads(pickle.dumps(errors.UnreadableImageError("it is empty", "a.jpg", 3)))
    assert (error.reason, error.image, error.position) == ("it is empty", "a.jpg", 3)


def test_invalid_option_is_an_error_of_scikit_learn_too() -> None:
    from sklearn.utils._param_validation import InvalidParameterError

    from featx import FeatureExtractor

    with pytest.raises(errors.InvalidOptionError) as raised:
        FeatureExtractor(batch_size=0).fit(["a.jpg"])
    assert isinstance(raised.value, errors.OptionError)
    assert isinstance(raised.value, InvalidParameterError)
    assert type(pickle.loads(pickle.dumps(raised.value))) is errors.InvalidOptionError
    assert errors.InvalidOptionError.__module__ == "featx.errors"


def test_errors_do_not_import_scikit_learn() -> None:
    code = "import sys, featx.errors; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
