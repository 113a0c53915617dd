"""Collections of images that FeatureExtractor accepts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn

from featx import FeatureExtractor
from featx.errors import InputError, UnreadableImageError, UnreadableImagesWarning
from featx.testing import CountingBackbone
from tests.conftest import make_old


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("kind", ["list", "tuple", "str array", "object array", "series", "frame"])
def test_collections(kind: str, paths: list[str]) -> None:
    collection: Any = {
        "list": paths,
        "tuple": tuple(paths),
        "str array": np.array(paths),
        "object array": np.array(paths, dtype=object)[:, None],
        "series": pd.Series(paths, index=range(100, 124)),
        "frame": pd.DataFrame({"path": paths}),
    }[kind]
    extractor = FeatureExtractor("counting")
    rows = extractor.fit_transform(collection)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, extractor.transform([Path(path).read_bytes() for path in paths]))


@pytest.mark.usefixtures("counting")
def test_array_of_all_images(photos: list[PIL.Image.Image]) -> None:
    extractor = FeatureExtractor("counting", cache=None)
    stacked = np.stack([np.asarray(photo) for photo in photos])
    np.testing.assert_array_equal(extractor.transform(stacked), extractor.transform(photos))


@pytest.mark.usefixtures("counting")
def test_empty_list() -> None:
    assert FeatureExtractor("counting").transform([]).shape == (0, 12)


@pytest.mark.usefixtures("counting")
def test_single_path_is_rejected(paths: list[str]) -> None:
    with pytest.raises(InputError, match="Put it in a list"):
        FeatureExtractor("counting").transform(paths[0])


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    "kind", ["polars", "polars frame", "arrow dtype", "pyarrow", "pyarrow array", "pyarrow frame", "string", "str_"]
)
def test_columns_of_other_libraries(kind: str, paths: list[str]) -> None:
    extractor = FeatureExtractor("counting")
    if kind.startswith("polars"):
        column = pytest.importorskip("polars").Series("photo", paths)
    elif kind == "arrow dtype":
        column = pd.Series(paths, dtype=pd.ArrowDtype(pytest.importorskip("pyarrow").string()))
    elif kind == "pyarrow array":
        column = pytest.importorskip("pyarrow").array(paths)
        np.testing.assert_array_equal(
            extractor.transform(pytest.importorskip("pyarrow").table({"photo": paths})), extractor.transform(paths)
        )
    elif kind.startswith("pyarrow"):
        pytest.importorskip("pyarrow")
        column = pd.Series(paths, dtype="string[pyarrow]", name="photo")
    else:
        column = pd.Series(paths, dtype="string") if kind == "string" else [np.str_(path) for path in paths]
    collection = column.to_frame() if kind.endswith("frame") else column
    np.testing.assert_array_equal(extractor.fit_transform(collection), extractor.transform(paths))


@pytest.mark.usefixtures("counting")
def test_empty_collections() -> None:
    for empty in (
        [],
        (),
        np.array([]),
        np.array([], dtype=object),
        pd.Series([], dtype=object),
        pd.DataFrame({"a": []}),
        np.empty((0, 1)),
        pytest.importorskip("polars").DataFrame({"a": []}),
        pytest.importorskip("polars").Series([]),
    ):
        assert FeatureExtractor("counting").fit_transform(empty).shape == (0, 12)


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_values_are_unreadable(missing: object, paths: list[str]) -> None:
    with pytest.raises(
        UnreadableImageError,
        match=r"\(index 1\): expected a path.*got a missing value. Fix or remove the image",
    ):
        FeatureExtractor("counting").transform([paths[0], missing])


@pytest.mark.usefixtures("counting")
def test_column_of_missing_values(paths: list[str]) -> None:
    polars = pytest.importorskip("polars")
    extractor = FeatureExtractor("counting", on_error="nan").fit(paths)
    nan = float("nan")
    for missing in (
        pd.DataFrame({"photo": [nan, nan]}),
        pd.Series([nan, nan]),
        np.array([nan, nan], dtype=np.float32),
        polars.Series([None, None]),
        polars.DataFrame({"photo": [None, None]}),
    ):
        with pytest.warns(UnreadableImagesWarning, match="2 of 2 images.*a missing value"):
            assert np.isnan(extractor.transform(missing)).all()


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_names(library: str, paths: list[str]) -> None:
    frames = pytest.importorskip(library)
    if library == "polars" and sklearn.__version__ < "1.7":
        pytest.skip("scikit-learn 1.6 knows no names of polars 2")
    table = frames.DataFrame({"photo": paths})
    extractor = FeatureExtractor("counting").fit(table)
    assert extractor.n_features_in_ == 1
    assert extractor.feature_names_in_.tolist() == ["photo"]
    with pytest.raises(ValueError, match="feature names should match"):
        extractor.transform(frames.DataFrame({"other": paths}))
    with pytest.raises(InputError, match=r"images must be one column, got 2 columns .*Select one: X\[\['photo'\]\]"):
        extractor.transform(frames.DataFrame({"photo": paths, "number": range(24)}))


@pytest.mark.usefixtures("counting")
def test_single_bytes_are_rejected() -> None:
    for single in (b"", bytearray(b"x"), memoryview(b"x")):
        with pytest.raises(InputError, match="Put it in a list"):
            FeatureExtractor("counting").transform(single)


@pytest.mark.slow
@pytest.mark.thorough
def test_time_is_linear_in_the_number_of_paths(counting: CountingBackbone, paths: list[str]) -> None:
    extractor = FeatureExtractor("counting")
    extractor.fit_transform(paths)
    seconds = []
    for times in (500, 4000):
        started = time.perf_counter()
        assert extractor.transform(paths * times).shape == (24 * times, 12)
        seconds.append(time.perf_counter() - started)
    assert counting.n_images == 24
    assert seconds[1] < 4 * 8 * seconds[0]  # quadratic would be 64 times


@pytest.mark.thorough
def test_time_is_linear_in_the_number_of_files(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    many = []
    for number in range(100_000):
        many.append(str(tmp_path / f"{number:06}.jpg"))
        os.link(paths[number % 24], many[-1])
    make_old(tmp_path)
    seconds = []
    for some in (many[:10_000], many, many):  # the last one is warm
        started = time.perf_counter()
        assert FeatureExtractor("counting").fit_transform(some).shape == (len(some), 12)
        seconds.append(time.perf_counter() - started)
    assert counting.n_images == 24
    assert seconds[1] < 3 * 10 * seconds[0]  # quadratic would be 100 times
    assert seconds[2] < seconds[1]
