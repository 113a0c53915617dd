from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest

from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.extraction.recorded import ExtractionParameters


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"backbone": "resnet5"}, "Did you mean 'resnet50'"),
        (
            {"pooling": "avgg"},
            "must be one of 'native', 'avg', 'max', 'avgmax', 'cls', 'none', got 'avgg'. Did you mean 'avg'",
        ),
        ({"resize": "squeeze"}, "must be 'native', 'squash', 'crop' or 'pad'"),
        ({"precision": "float64"}, "Did you mean 'float16'|Did you mean 'float32'"),
        ({"engine": "tensorflow"}, "one of 'auto', 'openvino', 'keras'"),
        ({"batch_size": 0}, "must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "must be an integer of at least 1, got 2.5"),
        ({"batch_size": True}, "must be an integer of at least 1, got True"),
        ({"image_size": 0}, "from 32 to 4096 for 'mobilenet', got 0.*default, 224"),
        ({"image_size": 100_000}, "from 32 to 4096"),
        ({"image_size": 224.0}, "must be an int or .* got 224.0"),
        ({"image_size": (224,)}, r"\(height, width\)"),
        ({"image_size": (224, 16)}, "from 32 to 4096"),
        ({"layer": "conv_pw_13_rel"}, "Did you mean 'conv_pw_13_relu'.*--layers"),
        ({"layer": 86}, "must be from -86 to 85"),
        ({"layer": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"layer": []}, "must be None, a name"),
        ({"layer": "conv1+"}, "must be None, a name"),
        ({"layer": True}, "must be None, a name"),
        ({"layer": [None]}, "must be None, a name"),
        ({"layer": 0}, "Cannot extract features from layer .input.*InputLayer"),
        ({"weights": 7}, "must be 'imagenet', the path of .* got 7"),
    ],
    ids=str,
)
def test_invalid_value_is_reported_with_what_was_expected(wrong: dict[str, Any], remedy: str) -> None:
    with pytest.raises(OptionError, match=remedy):
        ExtractionOptions(**wrong)


def test_recipe_contains_defaults() -> None:
    recipe = ExtractionOptions().resolve().recipe
    assert recipe.image_size == (224, 224)
    assert recipe.layer == "conv_pw_13_relu"
    assert recipe.precision in ("float32", "bfloat16")
    spelled_out = ExtractionOptions(image_size=(224, 224), layer="conv_pw_13_relu", precision=recipe.precision)
    assert spelled_out.resolve().recipe == recipe


@pytest.mark.parametrize("change", [{"batch_size": 7}, {"engine": "openvino"}], ids=str)
def test_recipe_omits_what_changes_no_value(change: dict[str, Any]) -> None:
    options = {"precision": "float32", **change}
    assert ExtractionOptions(**options).resolve().recipe == ExtractionOptions(precision="float32").resolve().recipe


def test_auto_cache_is_the_environment_variable_or_a_local_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path))
    assert resolve_cache("auto") == tmp_path
    monkeypatch.delenv("FEATX_CACHE")
    assert resolve_cache("auto") == Path("cache")
    assert resolve_cache("elsewhere") == Path("elsewhere")
    assert resolve_cache(None) is None
    for wrong in (7, ""):
        with pytest.raises(OptionError, match="must be a path"):
            resolve_cache(wrong)  # type: ignore[arg-type]


def test_mode_of_caching_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what does work."""
    for mode in ("read", "Read-Only", "none"):
        with pytest.raises(OptionError, match=rf"got '{mode}'.*write_cache=True.*cache=None.*, '\./{mode}'\."):
            resolve_cache(mode)
        assert resolve_cache(f"./{mode}") == resolve_cache(Path(mode)) == Path(mode)
    monkeypatch.setenv("FEATX_CACHE", "off")
    with pytest.raises(OptionError, match="FEATX_CACHE must be a path, got 'off'"):
        resolve_cache("auto")


def test_keywords_of_functions_are_the_options() -> None:
    """Type checkers and editors see the same names and types."""
    names = [field.name for field in dataclasses.fields(ExtractionOptions)]
    assert list(ExtractionParameters.__annotations__) == names
    typed, known = typing.get_type_hints(ExtractionParameters), typing.get_type_hints(ExtractionOptions)
    assert {name for name in names if typed[name] != known[name]} == {"backbone"}  # also a path or keras.Model
