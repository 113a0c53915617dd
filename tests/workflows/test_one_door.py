"""Every function that takes images takes the same kinds of them, and labels of any form."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pytest
import scipy.sparse

import featx
from featx.errors import ComparisonError, FeatxError
from featx.workflows.labeled_images import as_image_table

N, SIDE = 12, 12
Y = np.repeat([0, 1], N // 2)
EXTRACTOR = featx.FeatureExtractor("color_histogram", cache=None)


def pixels() -> Any:
    """Return two classes of images: reddish and bluish noise."""
    noise = np.random.default_rng(0).integers(0, 120, (N, SIDE, SIDE, 3), dtype=np.uint8)
    noise[Y == 0, :, :, 0] += 130
    noise[Y == 1, :, :, 2] += 130
    return noise


PIXELS = pixels()


def encoded(array: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    names = [folder / f"{number:02}.png" for number in range(N)]
    for name, array in zip(names, PIXELS, strict=True):
        name.write_bytes(encoded(array))
    return list(map(str, names))


def frame_of_bytes(library: str) -> Any:
    columns = {"image": [encoded(array) for array in PIXELS]}
    return getattr(pytest.importorskip(library), "table" if library == "pyarrow" else "DataFrame")(columns)


KINDS: dict[str, Callable[[list[str]], Any]] = {
    "paths": lambda files: files,
    "Path objects": lambda files: tuple(map(Path, files)),
    "array of paths": np.array,
    "column of paths": lambda files: np.array(files)[:, None],
    "Series": lambda files: pd.Series(files, index=range(100, 100 + N)),
    "DataFrame": lambda files: pd.DataFrame({"path": files}),
    "generator": lambda files: (path for path in files),
    "array": lambda files: PIXELS,
    "channels first": lambda files: np.moveaxis(PIXELS, 3, 1),
    "floats": lambda files: PIXELS / 255,
    "list of arrays": lambda files: list(PIXELS),
    "Series of arrays": lambda files: pd.Series(list(PIXELS)),
    "Pillow": lambda files: [PIL.Image.fromarray(array) for array in PIXELS],
    "bytes": lambda files: [encoded(array) for array in PIXELS],
    "files in memory": lambda files: [io.BytesIO(encoded(array)) for array in PIXELS],
    "dicts": lambda files: [{"bytes": encoded(array), "path": None} for array in PIXELS],
    "pandas bytes": lambda files: frame_of_bytes("pandas"),
    "polars bytes": lambda files: frame_of_bytes("polars"),
    "pyarrow bytes": lambda files: frame_of_bytes("pyarrow"),
    "ImageTable": lambda files: featx.ImageTable(files, [None] * N),
}
LABELS: dict[str, Callable[[], Any]] = {
    "ints": lambda: Y,
    "list of text": lambda: ["red" if label == 0 else "blue" for label in Y],
    "column": lambda: Y[:, None].astype(np.uint8),
    "Series": lambda: pd.Series(Y, index=range(50, 50 + N)),
    "categories": lambda: pd.Series(Y).map({0: "red", 1: "blue"}).astype("category"),
    "DataFrame": lambda: pd.DataFrame({"label": Y}),
}


def trained(images: Any, y: Any) -> Any:
    return featx.train_images(images, y, backbone=EXTRACTOR, estimator="knn", cache=None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.skops"
    trained(PIXELS, Y).save(path)
    return path


WITH_LABELS: dict[str, Callable[[Any, Any], Any]] = {
    "compare_images": lambda images, y: (
        featx.compare_images(images, y, backbones=[EXTRACTOR], estimators=["knn"], diagnostics=False, cache=None)
        .table["accuracy_mean"]
        .tolist()
    ),
    "rank_images": lambda images, y: (
        featx.rank_images(images, y, backbones=[EXTRACTOR], cache=None).table["loo_knn"].tolist()
    ),
    "train_images": lambda images, y: [trained(images, y).pipeline.score(PIXELS, np.ravel(y))],
    "augment_features": lambda images, y: featx.augment_features(images, y, n_copies=1, extractor=EXTRACTOR).X[:N],
}


def extracted(images: Any, folder: Path) -> Any:
    output = folder / "features.npy"
    featx.extract_images(images, output, backbone="color_histogram", cache=None)
    return np.load(output)


WITHOUT_LABELS: dict[str, Callable[[Any, Path], Any]] = {
    "FeatureExtractor": lambda images, folder: EXTRACTOR.fit_transform(images),
    "extract_images": extracted,
    "check_images": lambda images, folder: [featx.check_images(images).as_dict()["readable"]],
    "find_images": lambda images, folder: [len(featx.find_images(images))],
}


#: Functions that take half a second for one kind.
LONG = ("compare_images", "train_images", "rank_images", "augment_features")
#: Functions of which the others share the code that reads labels.
FEW_FUNCTIONS = ("compare_images", "augment_features")
FEW = ("paths", "DataFrame", "array", "Pillow", "pyarrow bytes")


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        *((function, FEW if function in LONG else tuple(KINDS)) for function in (*WITH_LABELS, *WITHOUT_LABELS)),
        *(pytest.param(function, tuple(KINDS), marks=pytest.mark.slow) for function in LONG),
    ],
)
def test_every_function_takes_every_kind_of_images(
    function: str, kinds: tuple[str, ...], files: list[str], tmp_path: Path
) -> None:
    results = {}
    for kind in kinds:
        images = KINDS[kind](files)
        if function in WITH_LABELS:
            results[kind] = WITH_LABELS[function](images, Y)
        else:
            results[kind] = WITHOUT_LABELS[function](images, tmp_path)
    for kind, result in results.items():
        np.testing.assert_array_equal(np.asarray(result), np.asarray(results["paths"]), err_msg=kind)


def test_trained_models_take_every_kind_of_images(files: list[str], model: Path) -> None:
    for kind, make in KINDS.items():
        assert featx.predict_images(model, make(files))["label"].tolist() == Y.tolist(), kind
    for kind in ("array", "files in memory"):
        explanations = featx.explain_images(model, KINDS[kind](files)[:2], method="occlusion", cache=None)
        assert [explanation.error for explanation in explanations] == [""] * 2, kind


def test_search_takes_every_kind_of_images(files: list[str], tmp_path: Path) -> None:
    extracted(files, tmp_path)
    features = tmp_path / "features.npy"
    for kind, make in KINDS.items():
        similar = featx.similar_images(features, make(files), top=1, include_self=True, backbone=EXTRACTOR, cache=None)
        assert [matches.matches[0].path for matches in similar] == files, kind


@pytest.mark.parametrize(
    "function", [pytest.param(name, marks=pytest.mark.slow) if name in LONG[:3] else name for name in WITH_LABELS]
)
@pytest.mark.parametrize("kind", LABELS)
def test_every_function_takes_every_kind_of_labels(function: str, kind: str) -> None:
    expected = WITH_LABELS[function](PIXELS, Y)
    np.testing.assert_array_equal(WITH_LABELS[function](PIXELS, LABELS[kind]()), expected)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_form_are_one_column(kind: str) -> None:
    labels = as_image_table(PIXELS, LABELS[kind]()).labels
    names = ["red", "blue"] if isinstance(labels[0], str) else [0, 1]
    assert labels == [names[label] for label in Y]


@pytest.mark.parametrize("function", FEW_FUNCTIONS)
def test_one_hot_labels_are_named_with_the_remedy(function: str) -> None:
    one_hot = np.eye(2)[Y]
    with pytest.raises(ComparisonError, match=r"one-hot labels of shape \(12, 2\). Pass y.argmax\(1\)"):
        WITH_LABELS[function](PIXELS, one_hot)
    np.testing.assert_array_equal(
        WITH_LABELS[function](PIXELS, one_hot.argmax(1)), WITH_LABELS[function](PIXELS, Y), err_msg="the remedy"
    )


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, scipy.sparse.csr_array, np.ndarray.tolist])
def test_the_remedy_for_one_hot_labels_fits_their_type(kind: Any) -> None:
    y = kind(np.eye(2, dtype=int)[Y])
    with pytest.raises(ComparisonError, match="one-hot labels") as error:
        as_image_table(PIXELS, y)
    code = str(error.value).partition("Pass ")[2].removesuffix(".")
    labels = as_image_table(PIXELS, eval(code, {"y": y, "numpy": np})).labels
    assert [int(str(label)[-1]) for label in labels] == list(Y)


@pytest.mark.parametrize("function", FEW_FUNCTIONS)
def test_flat_rows_are_named_with_the_remedy(function: str) -> None:
    flat = PIXELS.reshape(N, -1)
    with pytest.raises(FeatxError, match=r"\.reshape\(-1, 12, 12, 3\)"):
        WITH_LABELS[function](flat, Y)
    np.testing.assert_array_equal(
        WITH_LABELS[function](flat.reshape(-1, 12, 12, 3), Y), WITH_LABELS[function](PIXELS, Y)
    )


def test_one_unreadable_image_costs_no_other(tmp_path: Path, model: Path) -> None:
    images = [*PIXELS, b"not an image", None, np.full((4, 4, 3), np.nan)]
    y = [*Y, 0, 1, 0]
    comparison = featx.compare_images(images, y, backbones=[EXTRACTOR], estimators=["knn"], cache=None)
    assert [failure.image for failure in comparison.failures] == ["images[12]", "images[13]", "images[14]"]
    assert len(extracted(images, tmp_path)) == N
    predictions = featx.predict_images(model, images)
    assert predictions["label"].isna().sum() == 3


def test_train_and_test_images_in_memory_are_different() -> None:
    test = featx.find_images(PIXELS[::2])
    test = featx.ImageTable(test.paths, Y[::2].tolist())
    comparison = featx.compare_images(
        PIXELS[1::2], Y[1::2], test=test, backbones=[EXTRACTOR], estimators=["knn"], cache=None
    )
    assert comparison.table["accuracy_mean"].tolist() == [1]
