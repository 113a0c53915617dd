"""Parameters, output and warnings of FeatureExtractor."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import FeatureExtractor
from featx.errors import FeatxError, OptionError, UnreadableImageError, UnreadableImagesWarning
from featx.system.sklearn_compat import InvalidParameterError
from featx.testing import CountingBackbone


def test_grid_search_extracts_each_image_once(counting: CountingBackbone, paths: list[str], labels: list[str]) -> None:
    pipe = make_pipeline(FeatureExtractor("counting"), StandardScaler(), LogisticRegression())
    cross_val_score(pipe, paths, labels, cv=4)
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=4).fit(paths, labels)
    assert search.score(paths, labels) > 0.6
    assert counting.n_images == 24


def test_mobilenet_separates_two_photos(paths: list[str], labels: list[str], compiled_cache: Path) -> None:
    pipe = make_pipeline(FeatureExtractor("mobilenet", cache=compiled_cache), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipe, paths, labels, cv=4).mean() > 0.75


def test_fit_rejects_invalid_parameters() -> None:
    with pytest.raises(OptionError, match="Did you mean 'mobilenet'"):
        FeatureExtractor("mobilnet").fit(["a.jpg"])
    expected = (
        r"The 'on_error' parameter of FeatureExtractor must be a str among \{'raise', 'nan'\}. Got 'ignore' instead."
    )
    with pytest.raises(OptionError, match=expected) as raised:
        FeatureExtractor(on_error="ignore").fit(["a.jpg"])
    assert isinstance(raised.value, InvalidParameterError)


def test_feature_names_contain_the_backbone() -> None:
    names = FeatureExtractor("resnet50").get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (2048, "resnet50_0", "resnet50_2047")


@pytest.mark.usefixtures("counting")
def test_pandas_output(paths: list[str]) -> None:
    frame = pd.DataFrame({"path": paths}, index=range(100, 124))
    rows = FeatureExtractor("counting").set_output(transform="pandas").fit_transform(frame)
    assert list(rows.columns) == [f"counting_{i}" for i in range(12)]
    assert list(rows.index) == list(frame.index)


def test_clone_pickle_and_deepcopy(compiled_cache: Path) -> None:
    extractor = FeatureExtractor("mobilenet", resize="crop", cache=compiled_cache)
    pixels = np.zeros((1, 40, 40, 3), dtype=np.uint8)
    expected = extractor.fit_transform(pixels)
    for other in (clone(extractor), pickle.loads(pickle.dumps(extractor)), copy.deepcopy(extractor)):
        assert other.get_params() == extractor.get_params()
        np.testing.assert_array_equal(other.transform(pixels), expected)
    assert len(pickle.dumps(extractor)) < 2000


@pytest.mark.usefixtures("counting")
def test_on_error_raise(paths: list[str]) -> None:
    with pytest.raises(UnreadableImageError, match=r"'absent\.jpg' \(index 1\): No such file"):
        FeatureExtractor("counting").transform([paths[0], "absent.jpg"])


@pytest.mark.usefixtures("counting")
def test_on_error_nan(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting", on_error="nan")
    with pytest.warns(UnreadableImagesWarning, match=r"2 of 4 images.*'absent\.jpg' \(index 1\)") as warned:
        rows = extractor.transform([paths[0], "absent.jpg", None, paths[1]])
    assert len(warned) == 1
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.slow
def test_batch_size_and_engine_do_not_change_rows(photos: list[PIL.Image.Image], compiled_cache: Path) -> None:
    reference = FeatureExtractor(cache=None).transform(photos)
    np.testing.assert_array_equal(FeatureExtractor(cache=None, batch_size=5).transform(photos), reference)
    np.testing.assert_array_equal(FeatureExtractor(cache=compiled_cache).transform(photos), reference)
    full = FeatureExtractor(cache=None, precision="float32").transform(photos)
    keras = FeatureExtractor(cache=None, precision="float32", engine="keras").transform(photos)
    np.testing.assert_allclose(full, keras, atol=1e-4)


@pytest.mark.usefixtures("counting")
def test_verbose(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    FeatureExtractor("counting").transform(paths)
    assert capsys.readouterr().err == ""
    FeatureExtractor("counting", verbose=True).transform(paths)
    out, err = capsys.readouterr()
    assert "24/24" in err
    assert out == ""


def test_warm_process_imports_no_network_library(paths: list[str], compiled_cache: Path) -> None:
    expected = FeatureExtractor(cache=compiled_cache).transform(paths)
    code = (
        "import sys; from featx import FeatureExtractor\n"
        "rows = FeatureExtractor(cache=sys.argv[1]).transform(sys.argv[2:])\n"
        "assert not {'keras', 'tensorflow', 'openvino'} & set(sys.modules)\n"
        "print(repr(rows.tobytes()))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(compiled_cache), *paths]
    subprocess.run(command, capture_output=True, check=False)  # the first process on a machine queries OpenVINO
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(expected.tobytes())


def test_process_with_compiled_graph_imports_no_tensorflow(paths: list[str], compiled_cache: Path) -> None:
    code = (
        "import sys; from featx import FeatureExtractor\n"
        "FeatureExtractor(cache=sys.argv[1], resize='pad').transform(sys.argv[2:4])\n"
        "assert 'openvino' in sys.modules\n"
        "assert not {'keras', 'tensorflow', 'openvino_telemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(compiled_cache), *paths], check=True)


def test_errors_are_builtin_errors_too() -> None:
    for kind in (ValueError, FeatxError):
        with pytest.raises(kind):
            FeatureExtractor(pooling="sum").fit([])


def test_no_warning(counting: CountingBackbone, paths: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureExtractor("counting").fit_transform(paths)


def test_n_features_out_follows_the_parameters() -> None:
    extractor = FeatureExtractor("mobilenet")
    for name in ("n_features_out_", "recipe_", "fitted_params_"):
        assert not hasattr(extractor, name)
        with pytest.raises(NotFittedError, match=f"not fitted yet. Call fit before using {name}"):
            getattr(extractor, name)
    extractor.fit(["a.jpg"])
    assert extractor.n_features_out_ == 1024
    assert extractor.set_params(backbone="resnet50").n_features_out_ == 2048


@pytest.mark.parametrize("options", [{}, {"layer": 0.5, "pooling": "max"}, {"precision": "float32"}])
def test_tta_averages_rows_of_a_network(
    options: dict[str, Any], photos: list[PIL.Image.Image], compiled_cache: Path
) -> None:
    fitted = np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:3]])
    plain, mirrored, both = (
        FeatureExtractor(cache=compiled_cache, tta=views, **options).transform(pixels)
        for pixels, views in ((fitted, None), (fitted[:, :, ::-1], None), (fitted, "flip"))
    )
    np.testing.assert_array_equal(both, (plain + mirrored) / 2)


def test_feature_names_contain_layer_and_pooling() -> None:
    assert FeatureExtractor(pooling="max").get_feature_names_out()[3] == "mobilenet_max_3"
    assert FeatureExtractor(layer="conv_pw_13_relu").get_feature_names_out()[0] == "mobilenet_0"
