"""Recipes of fitted extractors."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.validation import check_is_fitted

from featx import FeatureExtractor
from featx.errors import EngineError, ModelFileError, OptionError, RecipeMismatchError


def test_fit_records_the_recipe_and_reads_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.extraction.options.Resolved.start", lambda *args: pytest.fail("the network was started"))
    extractor = FeatureExtractor("mobilenet", pooling="max")
    check_is_fitted(extractor)
    assert not hasattr(extractor, "recipe_")
    assert extractor.fit(["absent.jpg"]) is extractor
    assert extractor.n_features_out_ == 1024
    assert extractor.recipe_["pooling"] == "max"
    assert extractor.recipe_["weights"].startswith("9c4fd7b4")


class _FewerParameters(FeatureExtractor):  # type: ignore[misc]  # scikit-learn is untyped
    def __init__(self, backbone: str = "counting", *, cache: str | None = None) -> None:
        super().__init__(backbone, cache=cache)


def test_recipe_mismatch_reports_the_difference_and_a_remedy(paths: list[str]) -> None:
    extractor = FeatureExtractor(cache=None).fit(paths)
    for name, value, remedy in (
        ("weights", "0" * 64, "Pass the weights that it was fitted with"),
        ("pixels", 99, "This version of featx decodes or resizes images in another way"),
        ("precision", "float64", r"set_params\(precision='float32'\)"),
    ):
        loaded = pickle.loads(pickle.dumps(extractor))
        loaded.recipe_[name] = value
        with pytest.raises(RecipeMismatchError, match=f"expected {name} .*{remedy}.*[Rr]efit the pipeline"):
            loaded.transform(paths)
    error = RecipeMismatchError("m", {"pixels": (1, 2)})
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.usefixtures("counting")
def test_parameters_set_after_fit_take_effect(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    rows = extractor.set_params(image_size=16).transform(paths)
    np.testing.assert_array_equal(rows, FeatureExtractor("counting", image_size=16).transform(paths))
    extractor.recipe_["pixels"] = 99
    with pytest.raises(RecipeMismatchError, match="expected pixels '99'"):
        extractor.transform(paths)
    extractor.fit(paths).transform(paths)


def test_other_weights_are_rejected(paths: list[str], tmp_path: Path, compiled_cache: Path) -> None:
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


def test_recipe_of_a_cpu_with_another_precision(
    paths: list[str], monkeypatch: pytest.MonkeyPatch, compiled_cache: Path
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    extractor = FeatureExtractor(cache=compiled_cache).fit(paths)
    assert extractor.recipe_["precision"] == "float32"
    expected = extractor.transform(paths[:2])
    monkeypatch.setattr("featx.extraction.engines.engine.has_native_bfloat16", lambda: True)
    np.testing.assert_array_equal(extractor.transform(paths[:2]), expected)
    fitted_there = FeatureExtractor(cache=None).fit(paths)
    assert fitted_there.recipe_["precision"] == "bfloat16"
    with pytest.raises(EngineError, match=r"Cannot compute features in bfloat16.*precision=\"float32\""):
        fitted_there.transform(paths[:2])
    np.testing.assert_array_equal(fitted_there.set_params(precision="float32").transform(paths[:2]), expected)


@pytest.mark.usefixtures("counting")
def test_recipes_of_older_and_newer_versions(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    del extractor.fitted_params_["resize"]  # an older version lacked the parameter: its default is taken
    extractor.transform(paths)
    extractor.recipe_["colors"] = "warm"  # a newer version has more than this one
    with pytest.raises(RecipeMismatchError, match="expected colors 'warm'"):
        extractor.transform(paths)


@pytest.mark.usefixtures("counting")
def test_equal_parameters_of_other_types(paths: list[str]) -> None:
    extractor = FeatureExtractor(np.str_("counting"), image_size=np.int64(16)).fit(paths)
    extractor.recipe_["pixels"] = 99
    with pytest.raises(RecipeMismatchError):
        extractor.set_params(backbone="counting", image_size=[16, 16]).transform(paths)


@pytest.mark.usefixtures("counting")
def test_failed_fit_changes_nothing(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(pd.DataFrame({"photo": paths}))
    recipe, params = extractor.recipe_, extractor.fitted_params_
    with pytest.raises(OptionError):
        extractor.set_params(pooling="sum").fit(paths)
    assert (extractor.recipe_, extractor.fitted_params_) == (recipe, params)
    assert extractor.n_features_in_ == 1
    extractor.set_params(pooling="avg").fit(paths)
    assert not hasattr(extractor, "n_features_in_")


@pytest.mark.usefixtures("counting")
def test_state_of_an_older_version_gets_defaults(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    state = {name: value for name, value in extractor.__getstate__().items() if name not in ("verbose", "resize")}
    for kind in (FeatureExtractor, _FewerParameters):
        older = kind.__new__(kind)
        older.__setstate__(state)
        assert (older.verbose, older.resize) == (None, "native")
    older = FeatureExtractor.__new__(FeatureExtractor)
    older.__setstate__(state)
    assert older.get_params() == extractor.get_params()
    np.testing.assert_array_equal(older.transform(paths), extractor.transform(paths))


@pytest.mark.parametrize("name", ["_pin", "views"])
def test_state_of_another_format_is_rejected(name: str) -> None:
    extractor = FeatureExtractor.__new__(FeatureExtractor)
    with pytest.raises(ModelFileError, match="saved by an older version of featx. Fit the pipeline again"):
        extractor.__setstate__({"backbone": "mobilenet", name: None})
