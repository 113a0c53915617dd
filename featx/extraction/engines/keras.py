"""Run a network with Keras in float32: the reference engine."""

from __future__ import annotations

from typing import Any

from featx.extraction.engines.fixed_batch import FixedBatches


class KerasEngine(FixedBatches):
    """Run a ``keras.Model`` from uint8 pixels to features.

    Parameters
    ----------
    model : keras.Model
        Network that :meth:`featx.KerasBackbone.build` returns.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model.predict_on_batch, tuple(model.input_shape[1:3]))
