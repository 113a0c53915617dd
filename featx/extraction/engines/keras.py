"""Run a network with Keras in float32: the reference engine."""

from __future__ import annotations

import threading
from typing import Any

from featx.extraction.engines.fixed_batch import run_in_batches
from featx.system.array_types import AnyArray


class KerasEngine:
    """Run a ``keras.Model`` from uint8 pixels to features.

    Parameters
    ----------
    model : keras.Model
        Network that :meth:`featx.KerasBackbone.build` returns.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return float32 rows of shape (n_samples, n_features) of uint8 pixels."""
        with self._lock:
            return run_in_batches(self._model.predict_on_batch, pixels)
