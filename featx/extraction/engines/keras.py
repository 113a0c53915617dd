"""Run a network with Keras in float32: the reference engine."""

from __future__ import annotations

from typing import Any

from featx.extraction.engines.fixed_batch import FixedBatches
from featx.system.array_types import AnyArray


class KerasEngine:
    """Run a ``keras.Model`` from uint8 pixels to features.

    Parameters
    ----------
    model : keras.Model
        Network that :meth:`featx.KerasBackbone.build` returns.
    """

    def __init__(self, model: Any) -> None:
        self._run = FixedBatches(model.predict_on_batch, tuple(model.input_shape[1:3]))

    def __call__(self, pixels: AnyArray) -> AnyArray:
        """Return float32 rows of shape (n_samples, n_features) of uint8 pixels. Several threads may call it."""
        return self._run(pixels)
