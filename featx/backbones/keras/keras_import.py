"""Import Keras and tensorflow quietly, and use Keras with its default settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from featx.errors import EngineError
from featx.system.formatting import first_line


def import_keras() -> Any:
    """Return the keras module.

    Raises
    ------
    EngineError
        If Keras or its backend is missing or broken.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except Exception as error:  # a broken tensorflow raises anything, from ImportError to RuntimeError
        raise EngineError(
            f"Cannot import Keras: {first_line(error)}. Reinstall it: pip install --force-reinstall tensorflow."
        ) from error
    return keras


def import_tensorflow() -> Any:
    """Return the tensorflow module.

    Raises
    ------
    EngineError
        If it is missing or broken.
    """
    import_keras()  # reports a missing or broken tensorflow
    import tensorflow

    return tensorflow


@contextlib.contextmanager
def plain_settings(keras: Any) -> Iterator[Any]:
    """Use the default settings of Keras in a block: those that a user sets must not change a row."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    data_format = keras.config.image_data_format()
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield keras
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(data_format)
