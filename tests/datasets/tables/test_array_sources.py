"""Files of arrays as sources: npz, MNIST and CIFAR."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, check_images, extract_images, find_images
from featx.errors import InputError, OptionError, SourceError, SourceNotFoundError, UnreadableImageError
from featx.images.image import file_state, read_image

EXTRACTOR = FeatureExtractor("color_histogram", cache=None)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
Y = np.arange(12) % 3


def assert_has_pixels(images: Any, expected: Any) -> None:
    np.testing.assert_array_equal(EXTRACTOR.transform(images), EXTRACTOR.transform(list(expected)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_npz_with_splits(save: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    arrays = (PIXELS[:8], Y[:8, None], PIXELS[8:], Y[8:, None])
    save(tmp_path / "data.npz", **dict(zip(names, arrays, strict=True)))
    images = find_images(tmp_path / "data.npz")
    assert images.paths[8] == f"{tmp_path}/data.npz#{names[2]}/0"
    assert images.labels == Y.tolist()
    assert images.splits == ["train"] * 8 + ["test"] * 4
    assert_has_pixels(images, PIXELS)
    for row in (11, 0, 7, 2, 2):  # in any order
        np.testing.assert_array_equal(read_image(images.paths[row])[0], PIXELS[row])


def test_validation_images_are_test_images_if_there_are_no_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_images=PIXELS[:8], val_images=PIXELS[8:], train_labels=Y[:8], val_labels=Y[8:])
    assert (find_images(tmp_path / "d.npz").splits or [])[7:9] == ["train", "test"]


def test_npz_with_other_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", faces=PIXELS, ids=Y)
    assert find_images(tmp_path / "a.npz").labels == Y.tolist()
    np.savez(tmp_path / "b.npz", left=PIXELS, right=PIXELS[::-1], kinds=Y)
    with pytest.raises(SourceError, match=r"it has left \(12, 32, 32, 3\).*path_column \(--path-column\)"):
        find_images(tmp_path / "b.npz")
    images = find_images(tmp_path / "b.npz", path_column="right", label_column="kinds")
    assert images.labels == Y.tolist()
    assert_has_pixels(images, PIXELS[::-1])


def test_npz_with_several_labels_for_each_image(tmp_path: Path) -> None:
    labels = np.zeros((12, 14), dtype=np.uint8)
    labels[:, 3], labels[::2, 11], labels[5] = 1, 1, 0
    np.savez(tmp_path / "chest.npz", train_images=PIXELS, train_labels=labels)
    images = find_images(tmp_path / "chest.npz")
    assert [tuple(tags) for tags in images.labels[4:7]] == [("11", "3"), (), ("11", "3")]
    assert "'train_labels' has several labels for each image: tags are numbered by their column." in images.notes[0]
    np.savez(tmp_path / "one_hot.npz", images=PIXELS, labels=np.eye(3)[Y])
    images = find_images(tmp_path / "one_hot.npz")
    assert images.labels == Y.tolist()
    assert "one-hot labels: classes are numbered by their column" in images.notes[0]
    np.savez(tmp_path / "boxes.npz", images=PIXELS, labels=np.full((12, 4), 7))
    assert find_images(tmp_path / "boxes.npz").labels == [None] * 12


def test_flat_rows_in_npz_are_an_error_with_the_remedy(tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", x=PIXELS.reshape(12, -1), y=Y)
    with pytest.raises(InputError, match=r"flat.npz#x must be .*\.reshape\(-1, 32, 32, 3\)"):
        find_images(tmp_path / "flat.npz")


def test_damaged_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not a zip")
    with pytest.raises(SourceError, match=r"Cannot read .*a.npz': File is not a zip file\. Download the file again"):
        find_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.array([{}]), y=Y)
    with pytest.raises(SourceError, match=r"it has y \(12,\)"):  # objects would have to be unpickled
        find_images(tmp_path / "b.npz")


def idx(array: Any) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path) -> None:
    folder.mkdir()
    for part, rows in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[rows, :28, :28, 0])))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y[rows])))


def test_folder_of_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path / "raw")
    images = find_images(tmp_path / "raw")
    assert images.labels == Y.tolist()
    assert images.splits == ["train"] * 8 + ["test"] * 4
    assert_has_pixels(images, PIXELS[:, :28, :28, 0])
    only = find_images(tmp_path / "raw" / "t10k-images-idx3-ubyte.gz")
    assert (only.labels, only.splits) == (Y[8:].tolist(), None)


def batch(rows: slice, names: str = "labels") -> bytes:
    data = np.moveaxis(PIXELS[rows], 3, 1).reshape(-1, 3072)
    return pickle.dumps({b"data": data, names.encode(): Y[rows].tolist(), b"filenames": [b"a.png"]}, protocol=4)


def write_cifar(folder: Path) -> None:
    folder.mkdir()
    for name, rows in (("data_batch_1", slice(0, 5)), ("data_batch_2", slice(5, 8)), ("test_batch", slice(8, 12))):
        (folder / name).write_bytes(batch(rows))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"airplane", b"cat", b"dog"]}, protocol=4))


@pytest.mark.parametrize("kind", ["folder", "folder around it", "tar.gz"])
def test_cifar_10(kind: str, tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    source = {"folder": tmp_path / "cifar-10-batches-py", "folder around it": tmp_path}.get(kind, tmp_path / "c.tar.gz")
    if kind == "tar.gz":
        with tarfile.open(source, "w:gz") as tar:
            tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    images = find_images(source)
    assert images.labels == [("airplane", "cat", "dog")[label] for label in Y]
    assert images.splits == ["train"] * 8 + ["test"] * 4
    assert_has_pixels(images, PIXELS)
    assert check_images(source).as_dict()["readable"] == 12


def test_cifar_100_and_binary_batches(tmp_path: Path) -> None:
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        (tmp_path / name).write_bytes(batch(rows, "fine_labels"))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"bee", b"cup"]}, protocol=4))
    assert find_images(tmp_path).labels[:3] == ["apple", "bee", "cup"]
    binary = tmp_path / "binary"
    binary.mkdir()
    rows = np.concatenate([Y[:, None].astype(np.uint8), np.moveaxis(PIXELS, 3, 1).reshape(12, -1)], axis=1)
    (binary / "data_batch_1.bin").write_bytes(rows.tobytes())
    (binary / "batches.meta.txt").write_text("airplane\ncat\ndog\n\n")
    images = find_images(binary)
    assert images.labels[:3] == ["airplane", "cat", "dog"]
    assert_has_pixels(images, PIXELS)


def test_pickles_run_no_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harm",)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Harmful(), b"labels": [1]}))
    with pytest.raises(SourceError, match="expected the arrays of MNIST or CIFAR"):
        find_images(tmp_path / "data_batch_1")
    assert not (tmp_path / "harm").exists()


def test_all_sources_have_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=PIXELS, y=Y)
    (tmp_path / "photos").mkdir()
    with pytest.raises(SourceError, match=r"got '.*a.npz' with them and '.*photos' without\. Pass them one at a time"):
        find_images([tmp_path / "a.npz", tmp_path / "photos"])
    with pytest.raises(SourceNotFoundError, match=r"Did you mean '.*a\.npz'"):
        find_images([tmp_path / "a.npz", tmp_path / "aa.npz"])
    write_mnist(tmp_path / "raw")
    assert find_images(sorted((tmp_path / "raw").iterdir())).labels == [*Y[8:].tolist(), *Y[:8].tolist()]


def test_folders_with_the_names_of_cifar_are_no_files(tmp_path: Path) -> None:
    for name in ("train", "test"):
        for kind in ("cat", "data_batch_1"):
            (tmp_path / name / kind).mkdir(parents=True)
            (tmp_path / name / kind / "1.png").write_bytes(b"")
    (tmp_path / "meta").mkdir()
    images = find_images(tmp_path)
    assert (images.labels, images.splits) == (["cat", "data_batch_1"] * 2, ["test"] * 2 + ["train"] * 2)
    assert find_images(tmp_path / "train").labels == ["cat", "data_batch_1"]


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=PIXELS, y=np.array(["a"] * 12, dtype=object))
    images = find_images(tmp_path / "objects.npz")
    assert images.labels == [None] * 12
    assert any("'y' not read, as Python objects may run any code" in note for note in images.notes)
    with pytest.raises(SourceError, match="y of Python objects"):
        find_images(tmp_path / "objects.npz", label_column="y")
    np.savez(tmp_path / "bytes.npz", x=PIXELS[:3], y=np.array([b"caf\xe9", b"tea", b"tea"]))
    assert find_images(tmp_path / "bytes.npz").labels == ["caf\xe9", "tea", "tea"]
    np.savez(tmp_path / "nan.npz", x=PIXELS[:3], y=[1.0, np.nan, 2.0])
    assert find_images(tmp_path / "nan.npz").labels == [1, None, 2]
    content = (tmp_path / "bytes.npz").read_bytes()
    (tmp_path / "bytes.npz").write_bytes(content.replace(b"tea", b"sea"))  # the checksum is wrong
    with pytest.raises(SourceError, match=r"Cannot read .*Bad CRC-32.*Download the file again"):
        find_images(tmp_path / "bytes.npz")
    write_mnist(tmp_path / "raw")
    (tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bdamaged")
    with pytest.raises(SourceError, match="Cannot read '.*raw'"):
        find_images(tmp_path / "raw")
    (tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert find_images(tmp_path / "raw").labels == [*Y[:8].tolist(), *[None] * 4]


def test_arrays_without_a_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=PIXELS[:8], y_train=Y[:8], images_extra=PIXELS[8:])
    images = find_images(tmp_path / "a.npz")
    assert (len(images), images.splits) == (12, None)
    assert any("need train and test" in note for note in images.notes)


def test_options_of_tables_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=PIXELS, y=Y, patient=Y)
    with pytest.raises(OptionError, match=r"group_column \(--group-column\) is 'patient', but .* is not a table"):
        find_images(tmp_path / "a.npz", group_column="patient")
    with pytest.raises(SourceError, match=r"must have a label for each of its 12 images, got 3 labels\. Pass another"):
        np.savez(tmp_path / "b.npz", x=PIXELS, y=Y[:3])
        find_images(tmp_path / "b.npz")


def test_decompressed_size_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(10_000)))
    monkeypatch.setattr("featx.images.containers.array_files._MAX_FILE_BYTES", 9_999)
    with pytest.raises(SourceError, match="limit of"):
        find_images(path)


def test_names_of_arrays_with_slashes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"left/images": PIXELS, "right/images#2": PIXELS[::-1]})
    for key, pixels in (("left/images", PIXELS), ("right/images#2", PIXELS[::-1])):
        images = find_images(tmp_path / "a.npz", path_column=key)
        np.testing.assert_array_equal(read_image(images.paths[3])[0], pixels[3])
        assert file_state(images.paths[3]).st_size == (tmp_path / "a.npz").stat().st_size


def test_state_of_arrays_in_an_archive(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "cifar", "cifar")
    images = find_images(tmp_path / "c.tar")
    assert file_state(images.paths[0]).st_size == (tmp_path / "c.tar").stat().st_size


def test_missing_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=PIXELS, y=Y)
    with pytest.raises(UnreadableImageError, match="contains no image 'x/12'"):
        read_image(f"{tmp_path}/a.npz#x/12")
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(f"{tmp_path}/b.npz#x/12")


def test_rows_of_a_window_are_not_those_without_it(tmp_path: Path) -> None:
    """The path of an array stands for other pixels with another window."""
    X = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "f.npz", x=X.astype(np.float32))
    options: dict[str, Any] = {"backbone": "color_histogram", "cache": tmp_path / "cache"}
    extract_images(tmp_path / "a.npz", tmp_path / "o.npy", **options)
    extract_images(tmp_path / "f.npz", tmp_path / "o.npy", **options, window=(0, 255))
    with pytest.raises(SourceError) as caught:
        extract_images(tmp_path / "f.npz", tmp_path / "o.npy", **options)
    assert "pass the range of all images to the extractor, such as window=(0, 255) (--window 0 255)" in str(
        caught.value
    )
    assert str(caught.value).endswith("Values outside of it become black and white.")


def test_arrays_that_are_not_read_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=PIXELS, masks=PIXELS[..., 0], labels=Y, groups=Y)
    (note,) = find_images(path).notes
    assert "the arrays 'masks', 'groups' are not read. Pass another array of images as path_column" in note
    assert find_images(path, path_column="masks").notes == ()
    assert find_images(path, label_column="groups").labels == Y.ravel().tolist()
