from __future__ import annotations

import inspect
import pickle

import pytest

from featx import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_stands_in_the_tree_of_the_docstring(kind: type) -> None:
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, errors.FeatxError)])
def test_every_error_but_the_root_is_also_a_builtin_error(kind: type) -> None:
    if kind is not errors.FeatxError:
        builtin = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert builtin[0] is not Exception


def test_an_unreadable_image_names_file_position_reason_and_remedy() -> None:
    message = str(errors.UnreadableImageError("it is empty", "a.jpg", 3))
    assert message.startswith("Cannot read image 'a.jpg' (index 3): it is empty.")
    assert 'on_error="nan"' in message


def test_an_unreadable_image_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(errors.UnreadableImageError("it is empty", "a.jpg", 3)))
    assert (error.reason, error.image, error.position) == ("it is empty", "a.jpg", 3)
