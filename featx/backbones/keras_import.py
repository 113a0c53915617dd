"""Keras, imported quietly and with its plain settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from featx.errors import EngineError


def import_keras() -> Any:
    """Return the keras module, imported quietly.

    Raises
    ------
    EngineError
        Keras or its backend is missing or broken.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except Exception as error:  # a broken tensorflow fails with anything, from ImportError to RuntimeError
        raise EngineError(
            f"Keras cannot be imported ({first_line(error)}). Install it anew: pip install tensorflow."
        ) from error
    return keras


@contextlib.contextmanager
def plain_settings(keras: Any) -> Iterator[Any]:
    """Build with Keras as it comes: what a user has set for other networks must not change a row."""
    before = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield keras
    finally:
        keras.config.set_floatx(before[1])
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[2])


def first_line(error: Exception) -> str:
    """Return the first line of a message, or the kind of an error that has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
