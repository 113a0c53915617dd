from __future__ import annotations

import re
import unittest
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.utils.validation import validate_data

from featx import FeatureExtractor
from featx.errors import OptionError
from featx.system.sklearn_compat import InvalidParameterError


def test_sklearn_tags() -> None:
    tags = sklearn.utils.get_tags(FeatureExtractor())
    assert tags.input_tags.string
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


# Checks of scikit-learn. Its generator yields none for an estimator that accepts no numeric matrix, so they are called
# by name. Those that pass data get an extractor that interprets each row of a matrix as an image.
class _MatrixExtractor(FeatureExtractor):  # type: ignore[misc]  # scikit-learn is untyped
    """Accept a matrix, as scikit-learn's checks pass it: each row becomes an image of one line."""

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

    checks: dict[str, Any] = {}
    for check in estimator_checks._yield_all_checks(_MatrixExtractor(), legacy=True):
        plain, options = check, {}
        while hasattr(plain, "func"):
            options |= plain.keywords
            plain = plain.func
        checks[", ".join([plain.__name__, *(f"{name}={value}" for name, value in options.items())])] = check
    for name in _BESIDE_THE_GENERATOR:
        if hasattr(estimator_checks, name):
            checks[name] = getattr(estimator_checks, name)
    return {name: check for name, check in checks.items() if name.split(",")[0] not in _CANNOT_APPLY}


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("name", _ON_PARAMETERS_ALONE)
def test_scikit_learn_check_of_parameters(name: str) -> None:
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, name)("FeatureExtractor", FeatureExtractor())


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("name", sorted(_checks()))
def test_scikit_learn_check(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks themselves warn
        try:
            _checks()[name]("FeatureExtractor", _MatrixExtractor())
        except unittest.SkipTest as skipped:
            pytest.fail(f"scikit-learn skips it: {skipped}")


def test_every_scikit_learn_check_is_run_or_listed() -> None:
    from sklearn.utils import estimator_checks

    run = {name.split(",")[0] for name in _checks()} | set(_ON_PARAMETERS_ALONE)
    there = {name for name in vars(estimator_checks) if name.startswith("check_")}
    there -= {"check_estimator", "check_is_fitted", "check_array", "check_X_y", "check_random_state"}
    passed_over = {name for name in there - run - _CANNOT_APPLY.keys() if not re.search(_OF_OTHER_KINDS, name)}
    assert passed_over == set()
    assert len(_checks()) >= 50


@pytest.mark.parametrize("wrong", [{"batch_size": True}, {"image_size": (64,)}, {"layer": "absent"}, {"cache": ""}])
def test_invalid_parameters_raise_invalid_parameter_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as raised:
        FeatureExtractor(**wrong).fit(["a.jpg"])
    assert isinstance(raised.value, InvalidParameterError) or "cache" in wrong
    with sklearn.config_context(skip_parameter_validation=True):
        FeatureExtractor(verbose=3.5).fit(["a.jpg"])
