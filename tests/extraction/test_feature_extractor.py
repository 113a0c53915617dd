from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import time
import unittest
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from featx import FeatureExtractor
from featx.errors import (
    FeatxError,
    InputError,
    OptionError,
    RecipeMismatchError,
    UnreadableImageError,
    UnreadableImagesWarning,
)
from featx.extraction.sklearn_compat import InvalidParameterError
from featx.testing import CountingBackbone
from tests.conftest import make_old


def test_each_image_is_extracted_once_over_folds_and_candidates(
    counting: CountingBackbone, paths: list[str], labels: list[str]
) -> None:
    pipe = make_pipeline(FeatureExtractor("counting"), StandardScaler(), LogisticRegression())
    cross_val_score(pipe, paths, labels, cv=4)
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=4).fit(paths, labels)
    assert search.score(paths, labels) > 0.6
    assert counting.n_images == 24


def test_a_real_network_tells_a_flower_from_a_temple_by_a_small_part_of_the_photo(
    paths: list[str], labels: list[str], compiled_cache: Path
) -> None:
    pipe = make_pipeline(FeatureExtractor("mobilenet", cache=compiled_cache), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipe, paths, labels, cv=4).mean() > 0.75


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("kind", ["list", "tuple", "str array", "object array", "series", "frame"])
def test_every_collection_gives_the_same_rows(kind: str, paths: list[str]) -> None:
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
def test_one_array_of_all_images_is_accepted(photos: list[PIL.Image.Image]) -> None:
    extractor = FeatureExtractor("counting", cache=None)
    stacked = np.stack([np.asarray(photo) for photo in photos])
    np.testing.assert_array_equal(extractor.transform(stacked), extractor.transform(photos))


@pytest.mark.usefixtures("counting")
def test_no_images_give_no_rows() -> None:
    assert FeatureExtractor("counting").transform([]).shape == (0, 12)


@pytest.mark.usefixtures("counting")
def test_a_single_path_by_mistake_is_refused(paths: list[str]) -> None:
    with pytest.raises(InputError, match="Put it in a list"):
        FeatureExtractor("counting").transform(paths[0])


def test_fit_pins_the_recipe_and_reads_no_image_and_loads_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.extraction.options.Resolved.start", lambda *args: pytest.fail("the network was started"))
    extractor = FeatureExtractor("mobilenet", pooling="max")
    check_is_fitted(extractor)
    assert not hasattr(extractor, "recipe_")
    assert extractor.fit(["absent.jpg"]) is extractor
    assert extractor.n_features_out_ == 1024
    assert extractor.recipe_["pooling"] == "max"
    assert extractor.recipe_["weights"].startswith("9c4fd7b4")


def test_fit_refuses_a_wrong_parameter() -> None:
    with pytest.raises(OptionError, match="Did you mean 'mobilenet'"):
        FeatureExtractor("mobilnet").fit(["a.jpg"])
    expected = r"The 'on_error' parameter of FeatureExtractor must be a str among \{.*\}. Got 'ignore' instead."
    with pytest.raises(OptionError, match=expected) as raised:
        FeatureExtractor(on_error="ignore").fit(["a.jpg"])
    assert isinstance(raised.value, InvalidParameterError)


def test_feature_names_carry_the_backbone() -> None:
    names = FeatureExtractor("resnet50").get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (2048, "resnet50_0", "resnet50_2047")


@pytest.mark.usefixtures("counting")
def test_pandas_output_keeps_index_and_names(paths: list[str]) -> None:
    frame = pd.DataFrame({"path": paths}, index=range(100, 124))
    rows = FeatureExtractor("counting").set_output(transform="pandas").fit_transform(frame)
    assert list(rows.columns) == [f"counting_{i}" for i in range(12)]
    assert list(rows.index) == list(frame.index)


def test_clone_pickle_and_deepcopy_keep_parameters_and_no_network(compiled_cache: Path) -> None:
    extractor = FeatureExtractor("mobilenet", resize="crop", cache=compiled_cache)
    pixels = np.zeros((1, 40, 40, 3), dtype=np.uint8)
    expected = extractor.fit_transform(pixels)
    for other in (clone(extractor), pickle.loads(pickle.dumps(extractor)), copy.deepcopy(extractor)):
        assert other.get_params() == extractor.get_params()
        np.testing.assert_array_equal(other.transform(pixels), expected)
    assert len(pickle.dumps(extractor)) < 2000


@pytest.mark.usefixtures("counting")
def test_an_unreadable_image_stops_with_its_name_position_and_reason(paths: list[str]) -> None:
    with pytest.raises(UnreadableImageError, match=r"'absent\.jpg' \(index 1\): No such file"):
        FeatureExtractor("counting").transform([paths[0], "absent.jpg"])


@pytest.mark.usefixtures("counting")
def test_unreadable_images_give_nan_rows_and_one_warning(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting", on_error="nan")
    with pytest.warns(UnreadableImagesWarning, match=r"2 of 4 images.*'absent\.jpg' \(index 1\)") as warned:
        rows = extractor.transform([paths[0], "absent.jpg", None, paths[1]])
    assert len(warned) == 1
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.slow
def test_batch_size_and_engine_change_no_value(photos: list[PIL.Image.Image], compiled_cache: Path) -> None:
    reference = FeatureExtractor(cache=None).transform(photos)
    np.testing.assert_array_equal(FeatureExtractor(cache=None, batch_size=5).transform(photos), reference)
    np.testing.assert_array_equal(FeatureExtractor(cache=compiled_cache).transform(photos), reference)
    full = FeatureExtractor(cache=None, precision="float32").transform(photos)
    keras = FeatureExtractor(cache=None, precision="float32", engine="keras").transform(photos)
    np.testing.assert_allclose(full, keras, atol=1e-4)


@pytest.mark.usefixtures("counting")
def test_verbose_shows_a_progress_bar(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    FeatureExtractor("counting").transform(paths)
    assert capsys.readouterr().err == ""
    FeatureExtractor("counting", verbose=True).transform(paths)
    out, err = capsys.readouterr()
    assert "24/24" in err
    assert out == ""


def test_tags_say_what_is_accepted() -> None:
    tags = sklearn.utils.get_tags(FeatureExtractor())
    assert tags.input_tags.string
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


# The checks of scikit-learn's own suite. Its generator yields none for an estimator that takes no numeric matrix, so
# they are called by name: those that pass data get an extractor that takes each row of a matrix for an image.
class _OfRows(FeatureExtractor):  # type: ignore[misc]  # scikit-learn is untyped
    """Takes a matrix as scikit-learn's checks pass it, and each of its rows for an image of one line."""

    def __init__(self, backbone: str = "counting", *, cache: str | None = None) -> None:
        super().__init__(backbone, cache=cache)

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        images = self._images(X, reset=True)
        known = {name: getattr(self, name) for name in ("n_features_in_", "feature_names_in_") if hasattr(self, name)}
        super().fit(images, y)  # a list of images has no columns
        vars(self).update(known)
        return self

    def transform(self, X: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        # Not wrapped a second time by set_output.
        return FeatureExtractor.transform.__wrapped__(self, self._images(X, reset=False))

    def _images(self, X: Any, *, reset: bool) -> list[np.ndarray[Any, Any]]:
        rows = validate_data(self, X, reset=reset, dtype=np.float64)
        return [np.repeat(np.clip(row * 40 + 128, 0, 255).astype(np.uint8)[None, :, None], 3, axis=2) for row in rows]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = tags.input_tags.three_d_array = False
        return tags


#: Those that scikit-learn's own tests of its transformers call beside what the generator yields.
_BESIDE_THE_GENERATOR = {
    "check_dataframe_column_names_consistency",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_transformer_preserve_dtypes",
}
_CANNOT_APPLY = {
    "check_array_api_input": "rows come from the network's own engine, which knows no array library",
    "check_get_feature_names_out_error": "names need no fit: nothing is learned",
    "check_requires_y_none": "for estimators that need y",
    "check_estimators_unfitted": "nothing needs a fit",
    "check_transformers_unfitted": "nothing needs a fit",
    "check_estimators_data_not_an_array": "a part of checks of classifiers and regressors",
    "check_estimators_partial_fit_n_features": "there is no partial_fit: fit reads no image",
    "check_fit_non_negative": "for estimators of non-negative numbers",
    "check_non_transformer_estimators_n_iter": "this is a transformer, and iterates over nothing",
    "check_sparsify_coefficients": "there are no coefficients",
}
#: What is there for other kinds of estimators, by its name.
_OF_OTHER_KINDS = (
    "class|regress|cluster|outlier|sparse|sample_weight|decision_proba|positive_only|nonsquare|min_n|"
    "monotonic|linear|pairwise|supervised|multi|array_api|complex_data_init|estimator_sparse|requires_y|mixin_order"
)
_ON_PARAMETERS_ALONE = sorted(
    {
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_param_validation",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    }
)


def _checks() -> dict[str, Any]:
    """Return every check that can apply, under its name and what it is called with."""
    from sklearn.utils import estimator_checks

    found: dict[str, Any] = {}
    for check in estimator_checks._yield_all_checks(_OfRows(), legacy=True):
        plain, options = check, {}
        while hasattr(plain, "func"):
            options |= plain.keywords
            plain = plain.func
        found[", ".join([plain.__name__, *(f"{name}={value}" for name, value in options.items())])] = check
    for name in _BESIDE_THE_GENERATOR:
        if hasattr(estimator_checks, name):
            found[name] = getattr(estimator_checks, name)
    return {name: check for name, check in found.items() if name.split(",")[0] not in _CANNOT_APPLY}


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("name", _ON_PARAMETERS_ALONE)
def test_scikit_learn_check_of_parameters(name: str) -> None:
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, name)("FeatureExtractor", FeatureExtractor())


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("name", sorted(_checks()))
def test_scikit_learn_check(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks' own
        try:
            _checks()[name]("FeatureExtractor", _OfRows())
        except unittest.SkipTest as skipped:
            pytest.fail(f"scikit-learn skips it: {skipped}")


def test_no_check_of_scikit_learn_is_passed_over_in_silence() -> None:
    from sklearn.utils import estimator_checks

    run = {name.split(",")[0] for name in _checks()} | set(_ON_PARAMETERS_ALONE)
    there = {name for name in vars(estimator_checks) if name.startswith("check_")}
    there -= {"check_estimator", "check_is_fitted", "check_array", "check_X_y", "check_random_state"}
    passed_over = {name for name in there - run - _CANNOT_APPLY.keys() if not re.search(_OF_OTHER_KINDS, name)}
    assert passed_over == set()
    assert len(_checks()) >= 50


def test_a_warm_run_in_a_new_process_imports_no_network_library(paths: list[str], compiled_cache: Path) -> None:
    expected = FeatureExtractor(cache=compiled_cache).transform(paths)
    code = (
        "import sys; from featx import FeatureExtractor\n"
        "rows = FeatureExtractor(cache=sys.argv[1]).transform(sys.argv[2:])\n"
        "assert not {'keras', 'tensorflow', 'openvino'} & set(sys.modules)\n"
        "print(repr(rows.tobytes()))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(compiled_cache), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(expected.tobytes())


def test_a_compiled_graph_spares_the_next_process_tensorflow(paths: list[str], compiled_cache: Path) -> None:
    code = (
        "import sys; from featx import FeatureExtractor\n"
        "FeatureExtractor(cache=sys.argv[1], resize='pad').transform(sys.argv[2:4])\n"
        "assert 'openvino' in sys.modules\n"
        "assert not {'keras', 'tensorflow', 'openvino_telemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(compiled_cache), *paths], check=True)


def test_errors_are_featx_errors_and_builtin_ones() -> None:
    for kind in (ValueError, FeatxError):
        with pytest.raises(kind):
            FeatureExtractor(pooling="sum").fit([])


def test_no_warning_on_a_good_run(counting: CountingBackbone, paths: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureExtractor("counting").fit_transform(paths)


# Pinned recipes --------------------------------------------------------------------------------------


def test_a_fitted_extractor_that_cannot_give_the_same_features_says_why(paths: list[str]) -> None:
    extractor = FeatureExtractor(cache=None).fit(paths)
    for name, value, remedy in (
        ("weights", "0" * 64, "Pass the weights that it was fitted with"),
        ("pixels", 99, "Install the featx version"),
        ("precision", "float16", r"set_params\(precision='float32'\)"),
    ):
        loaded = pickle.loads(pickle.dumps(extractor))
        loaded.recipe_[name] = value
        with pytest.raises(RecipeMismatchError, match=f"expected {name} .*{remedy}.*[Rr]efit the pipeline"):
            loaded.transform(paths)
    error = RecipeMismatchError("m", {"pixels": (1, 2)})
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.usefixtures("counting")
def test_what_is_set_after_the_fit_counts_and_the_rest_stays_pinned(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    rows = extractor.set_params(image_size=16).transform(paths)
    np.testing.assert_array_equal(rows, FeatureExtractor("counting", image_size=16).transform(paths))
    extractor.recipe_["pixels"] = 99
    with pytest.raises(RecipeMismatchError, match="expected pixels '99'"):
        extractor.transform(paths)
    extractor.fit(paths).transform(paths)


def test_other_weights_are_never_taken_for_those_of_the_fit(
    paths: list[str], tmp_path: Path, compiled_cache: Path
) -> None:
    from featx.backbones.registry import load_backbone

    bundled = load_backbone("mobilenet").find_weights("imagenet").path
    assert bundled is not None
    same, other = tmp_path / "same.weights.h5", tmp_path / "other.weights.h5"
    same.write_bytes(bundled.read_bytes())
    other.write_bytes(bundled.read_bytes()[:-1] + b"x")
    extractor = FeatureExtractor(cache=compiled_cache).fit(paths)
    expected = extractor.transform(paths[:2])
    np.testing.assert_array_equal(extractor.set_params(weights=same).transform(paths[:2]), expected)
    with pytest.raises(RecipeMismatchError, match="expected weights '9c4fd7b4"):
        extractor.set_params(weights=other).transform(paths[:2])


def test_features_of_float32_are_had_on_machines_that_would_choose_bfloat16(
    paths: list[str], monkeypatch: pytest.MonkeyPatch, compiled_cache: Path
) -> None:
    monkeypatch.setattr("featx.extraction.engines.engine.has_native_bfloat16", lambda: False)
    extractor = FeatureExtractor(cache=compiled_cache).fit(paths)
    expected = extractor.transform(paths[:2])
    monkeypatch.setattr("featx.extraction.engines.engine.has_native_bfloat16", lambda: True)
    np.testing.assert_array_equal(extractor.transform(paths[:2]), expected)
    fitted_there = FeatureExtractor(cache=compiled_cache).fit(paths)
    monkeypatch.setattr("featx.extraction.engines.engine.has_native_bfloat16", lambda: False)
    with pytest.raises(RecipeMismatchError, match=r"expected precision 'bfloat16'.*set_params\(precision='float32'\)"):
        fitted_there.transform(paths[:2])
    np.testing.assert_array_equal(fitted_there.set_params(precision="float32").transform(paths[:2]), expected)


@pytest.mark.usefixtures("counting")
def test_pins_of_older_and_newer_versions_hold(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    del extractor.fitted_params_["resize"]  # an older version lacked the parameter: its default is taken
    extractor.transform(paths)
    extractor.recipe_["colours"] = "warm"  # a newer version has more than this one
    with pytest.raises(RecipeMismatchError, match="expected colours 'warm'"):
        extractor.transform(paths)


@pytest.mark.usefixtures("counting")
def test_equal_parameters_of_other_types_are_equal(paths: list[str]) -> None:
    extractor = FeatureExtractor(np.str_("counting"), image_size=np.int64(16)).fit(paths)
    extractor.recipe_["pixels"] = 99
    with pytest.raises(RecipeMismatchError):
        extractor.set_params(backbone="counting", image_size=[16, 16]).transform(paths)


@pytest.mark.usefixtures("counting")
def test_a_fit_that_fails_changes_nothing(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(pd.DataFrame({"photo": paths}))
    recipe, params = extractor.recipe_, extractor.fitted_params_
    with pytest.raises(OptionError):
        extractor.set_params(pooling="sum").fit(paths)
    assert (extractor.recipe_, extractor.fitted_params_) == (recipe, params)
    assert extractor.n_features_in_ == 1
    extractor.set_params(pooling="avg").fit(paths)
    assert not hasattr(extractor, "n_features_in_")


def test_the_length_of_a_row_follows_the_parameters() -> None:
    extractor = FeatureExtractor("mobilenet")
    for name in ("n_features_out_", "recipe_", "fitted_params_"):
        assert not hasattr(extractor, name)
        with pytest.raises(NotFittedError, match=f"not fitted yet. Call fit before using {name}"):
            getattr(extractor, name)
    extractor.fit(["a.jpg"])
    assert extractor.n_features_out_ == 1024
    assert extractor.set_params(backbone="resnet50").n_features_out_ == 2048


@pytest.mark.usefixtures("counting")
def test_a_state_of_an_older_featx_gets_the_defaults_of_what_it_lacks(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    state = {name: value for name, value in extractor.__getstate__().items() if name not in ("verbose", "resize")}
    for kind in (FeatureExtractor, _OfRows):  # a subclass may take fewer
        older = kind.__new__(kind)
        older.__setstate__(state)
        assert (older.verbose, older.resize) == (False, "squash")
    older = FeatureExtractor.__new__(FeatureExtractor)
    older.__setstate__(state)
    assert older.get_params() == extractor.get_params()
    np.testing.assert_array_equal(older.transform(paths), extractor.transform(paths))


@pytest.mark.parametrize("options", [{}, {"layer": 0.5, "pooling": "max"}, {"precision": "float32"}])
def test_views_of_a_network_are_averaged(
    options: dict[str, Any], photos: list[PIL.Image.Image], compiled_cache: Path
) -> None:
    fitted = np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:3]])
    plain, mirrored, both = (
        FeatureExtractor(cache=compiled_cache, tta=views, **options).transform(pixels)
        for pixels, views in ((fitted, None), (fitted[:, :, ::-1], None), (fitted, "flip"))
    )
    np.testing.assert_array_equal(both, (plain + mirrored) / 2)


def test_names_carry_layer_and_pooling_if_they_are_not_the_default() -> None:
    assert FeatureExtractor(pooling="max").get_feature_names_out()[3] == "mobilenet_max_3"
    assert FeatureExtractor(layer="conv_pw_13_relu").get_feature_names_out()[0] == "mobilenet_0"


@pytest.mark.parametrize("wrong", [{"batch_size": True}, {"image_size": (64,)}, {"layer": "absent"}, {"cache": ""}])
def test_every_wrong_parameter_is_an_error_of_scikit_learn_s_kind(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as raised:
        FeatureExtractor(**wrong).fit(["a.jpg"])
    assert isinstance(raised.value, InvalidParameterError) or "cache" in wrong
    with sklearn.config_context(skip_parameter_validation=True):
        FeatureExtractor(verbose=3.5).fit(["a.jpg"])


# Inputs ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    "kind", ["polars", "polars frame", "arrow dtype", "pyarrow", "pyarrow array", "pyarrow frame", "string", "str_"]
)
def test_columns_of_other_libraries_are_accepted(kind: str, paths: list[str]) -> None:
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
def test_empty_collections_of_any_kind_give_no_rows() -> None:
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
def test_missing_values_are_unreadable_images(missing: object, paths: list[str]) -> None:
    with pytest.raises(UnreadableImageError, match=r"\(index 1\): expected a path.*got a missing value"):
        FeatureExtractor("counting").transform([paths[0], missing])


@pytest.mark.usefixtures("counting")
def test_a_column_of_missing_values_is_one_of_unreadable_images(paths: list[str]) -> None:
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
def test_columns_have_names(library: str, paths: list[str]) -> None:
    frames = pytest.importorskip(library)
    if library == "polars" and sklearn.__version__ < "1.7":
        pytest.skip("scikit-learn 1.6 knows no names of polars 2")
    table = frames.DataFrame({"photo": paths})
    extractor = FeatureExtractor("counting").fit(table)
    assert extractor.n_features_in_ == 1
    assert extractor.feature_names_in_.tolist() == ["photo"]
    with pytest.raises(ValueError, match="feature names should match"):
        extractor.transform(frames.DataFrame({"other": paths}))
    with pytest.raises(InputError, match=r"Expected one column of images, got 2 \(photo, number\)"):
        extractor.transform(frames.DataFrame({"photo": paths, "number": range(24)}))


@pytest.mark.usefixtures("counting")
def test_single_bytes_by_mistake_are_refused() -> None:
    for single in (b"", bytearray(b"x"), memoryview(b"x")):
        with pytest.raises(InputError, match="Put it in a list"):
            FeatureExtractor("counting").transform(single)


@pytest.mark.slow
def test_100_000_paths_take_time_in_proportion(counting: CountingBackbone, paths: list[str]) -> None:
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
def test_100_000_different_files_take_time_in_proportion(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
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
