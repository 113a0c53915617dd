"""Features that processes map from files instead of receiving them."""

import pickle

import numpy as np
import pytest

from featx.baselines.scaling.mapped_file import mapped_file, open_again, without_arrays
from featx.errors import ResourceError
from featx.features.selected_rows import SelectedRows

X = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "features.npy", X)
    return tmp_path / "features.npy"


@pytest.mark.parametrize("rows", [slice(None), slice(7, 300)])
@pytest.mark.parametrize("convert", [lambda X: X, np.asarray])
def test_a_memory_map_is_not_written_again(rows, convert, path, tmp_path):
    mapped = convert(np.load(path, mmap_mode="r")[rows])
    assert without_arrays(mapped, tmp_path / "missing").path == str(path)
    assert np.array_equal(open_again(without_arrays(mapped, tmp_path)), X[rows])


def test_changes_of_a_copy_on_write_map_are_not_lost(path, tmp_path):
    mapped = np.load(path, mmap_mode="c")
    mapped[0] = 1
    assert mapped_file(mapped) is None
    assert np.array_equal(open_again(without_arrays(mapped, tmp_path)), mapped)


def test_a_file_in_the_place_of_the_mapped_one_is_not_used(path, tmp_path):
    mapped = np.load(path, mmap_mode="r")
    np.save(tmp_path / "other.npy", X + 1)
    (tmp_path / "other.npy").replace(path)
    assert mapped_file(mapped) is None
    path.unlink()
    assert mapped_file(mapped) is None
    assert np.array_equal(open_again(without_arrays(mapped, tmp_path)), X)


def test_rows_that_are_no_part_of_a_file_are_written(path, tmp_path):
    mapped = np.load(path, mmap_mode="r")
    for rows in (mapped[::2], mapped[:, :5], mapped.T, mapped + 1, X):
        assert mapped_file(rows) is None
        assert np.array_equal(open_again(without_arrays(rows, tmp_path)), rows)


def test_only_the_indices_of_selected_rows_are_sent(tmp_path):
    rows = np.flatnonzero(np.arange(len(X)) % 10)
    sent = without_arrays(SelectedRows(X, rows), tmp_path)
    assert len(pickle.dumps(sent)) < rows.nbytes + 1000 < X.nbytes
    assert np.array_equal(np.asarray(open_again(pickle.loads(pickle.dumps(sent)))), X[rows])


def test_a_full_disk_of_temporary_files_is_an_error_of_its_own(tmp_path):
    (tmp_path / "features").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match=r"Cannot write temporary files in .*: No space left on device. Free space"):
        without_arrays(X, tmp_path)
