"""The reference engine: Keras itself, at float32."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from featx.extraction.engines.fixed_batch import run_in_batches


class KerasEngine:
    """Run a ``keras.Model`` from uint8 pixels to features.

    Parameters
    ----------
    model : keras.Model
        As :meth:`featx.backbones.registry.KerasBackbone.build` returns it.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return float32 rows (n, n_features) of uint8 pixels (n, height, width, 3)."""
        with self._lock:
            return run_in_batches(self._model.predict_on_batch, pixels)
