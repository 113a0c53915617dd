from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.features.hashed_npy import HashedNpyWriter, checksum_of
from featx.features.npy_writer import NpyWriter


@pytest.mark.parametrize("failed", [[], [0], [3, 2_999], list(range(2_000, 3_000))])
@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_checksum_equals_that_of_the_file(failed: list[int], order: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.random((3_000, 700), dtype=np.float32)
    blocks = np.array_split(np.arange(3_000), 90)
    block_order = {"forward": range(90), "backward": range(89, -1, -1), "shuffled": rng.permutation(90)}[order]
    kept = np.setdiff1d(np.arange(3_000), failed)
    with HashedNpyWriter(tmp_path / "a.npy", 3_000, 700) as rows:
        for number in block_order:
            rows[blocks[number]] = data[blocks[number]]
        rows.keep(kept)
        assert rows.finish().result() == checksum_of(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), data[kept])


def test_rows_that_are_written_again_are_hashed_again(tmp_path: Path) -> None:
    with HashedNpyWriter(tmp_path / "a.npy", 3_000, 700) as rows:
        _fill(rows)
        rows[7] = 5
        assert rows.finish().result() == checksum_of(tmp_path / "a.npy")


def test_file_is_closed_after_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), HashedNpyWriter(tmp_path / "a.npy", 3_000, 700) as rows:
        _fill(rows)
        raise KeyboardInterrupt
    assert rows._file.closed


def _fill(rows: NpyWriter) -> Any:
    for index in range(3_000):
        rows[index] = np.full(700, index, dtype=np.float32)
