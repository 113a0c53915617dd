"""Statistics of columns, in blocks of rows."""

import numpy as np

from featx.baselines.scaling.column_statistics import column_statistics, row_blocks

X = np.random.default_rng(0).normal(1000, 3, (700, 5)).astype(np.float32)
X[:, 2] = 0.1


def test_statistics_of_blocks_are_those_of_all_rows():
    rows = np.arange(0, 700, 2)
    for chosen in (None, rows):
        part = X if chosen is None else X[chosen]
        statistics = column_statistics(row_blocks(X, chosen, block_bytes=8 * 5 * 64))
        np.testing.assert_allclose(statistics.mean, part.mean(axis=0, dtype=np.float64), rtol=1e-12)
        np.testing.assert_allclose(statistics.std, part.std(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-6)
        assert statistics.varies.tolist() == [True, True, False, True, True]
        assert statistics.inverse_std[2] == 0


def test_blocks_have_a_limited_size():
    assert [len(block) for block in row_blocks(X, block_bytes=8 * 5 * 300)] == [300, 300, 100]
