"""Whether a model file is being read, which downloads nothing from repositories that the file names."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_model: contextvars.ContextVar[str] = contextvars.ContextVar("featx_model_being_read", default="")


def model_being_read() -> str:
    """Return the path of the model file that this thread reads; "" if it reads none."""
    return _model.get()


@contextlib.contextmanager
def refusing_downloads(model: str) -> Iterator[None]:
    """Refuse downloads from the hub by this thread in a block, as a model file names the repository."""
    token = _model.set(model)
    try:
        yield
    finally:
        _model.reset(token)
