from __future__ import annotations

import numpy as np
import pytest

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.errors import WeightsError
from featx.extraction.engines.fixed_batch import check_batch_independence, run_in_batches
from featx.system.array_types import AnyArray


def test_batches_have_one_size() -> None:
    sizes = []

    def run(batch: AnyArray) -> AnyArray:
        sizes.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    pixels = np.arange(19, dtype=np.uint8).reshape(19, 1, 1, 1)
    np.testing.assert_array_equal(run_in_batches(run, pixels)[:, 0], np.arange(19))
    assert sizes == [COMPILED_BATCH_SIZE] * 3


def test_rows_may_depend_on_their_own_image_only() -> None:
    check_batch_independence(lambda batch: [batch.mean(axis=(1, 2))], (8, 8), "'net'")
    with pytest.raises(WeightsError, match="Cannot use network 'net': .*other images of its batch"):
        check_batch_independence(lambda batch: [batch - batch.mean(axis=0)], (8, 8), "'net'")


def test_rows_may_not_depend_on_their_position() -> None:
    positions = np.arange(COMPILED_BATCH_SIZE)[:, None]
    with pytest.raises(WeightsError, match="depend on the other images"):
        check_batch_independence(lambda batch: [batch.mean(axis=(1, 2)) + positions], (8, 8), "'net'")
