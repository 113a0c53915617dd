from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from featx.system.arrays import npy_header, read_npy_header


@pytest.mark.parametrize("shape", [(0, 1), (3, 2), (10**9, 2048)])
def test_header_is_read_again(shape: tuple[int, int]) -> None:
    header = npy_header(shape)
    file = io.BytesIO(header)
    assert read_npy_header(file) == (shape, False, np.dtype("<f4"))
    assert file.tell() == len(header) == 128


def test_file_equals_that_of_numpy() -> None:
    rows, file = np.arange(6, dtype=np.float32).reshape(3, 2), io.BytesIO()
    np.save(file, rows)
    assert file.getvalue() == npy_header((3, 2)) + rows.tobytes()


@pytest.mark.parametrize("array", [np.zeros((2, 3), dtype=np.uint8, order="F"), np.zeros(5)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_headers_of_all_versions_are_read(array: np.ndarray[Any, Any], version: tuple[int, int]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    file.seek(0)
    assert read_npy_header(file) == (array.shape, array.ndim == 2, array.dtype)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 not an array", npy_header((3, 2))[:50]])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        read_npy_header(io.BytesIO(content))
