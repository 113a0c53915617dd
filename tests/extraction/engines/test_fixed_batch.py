from __future__ import annotations

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.extraction.engines.fixed_batch import run_in_batches
from featx.system.array_types import AnyArray


def test_batches_have_one_size() -> None:
    sizes = []

    def run(batch: AnyArray) -> AnyArray:
        sizes.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    pixels = np.arange(19, dtype=np.uint8).reshape(19, 1, 1, 1)
    np.testing.assert_array_equal(run_in_batches(run, pixels)[:, 0], np.arange(19))
    assert sizes == [COMPILED_BATCH_SIZE] * 3
