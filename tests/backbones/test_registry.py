from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
import featx.cli.main
from featx.backbones.registry import KerasBackbone
from featx.cli import console
from featx.errors import EngineError, OptionError, UnknownBackboneError
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone, registered

MOBILENET = featx.load_backbone("mobilenet")


def test_recipe_name_is_unique() -> None:
    names = [
        dataclasses.replace(MOBILENET, **changed).recipe_name
        for changed in (
            {},
            {"name": "mine"},
            {"name": "mine", "application": "vgg16.VGG16"},
            {"name": "mine", "application": "vgg19.VGG19"},
            {"name": "mine", "application": "vgg19.VGG19", "pools_before_norm": True},
            {"name": "mine", "alpha": 0.5},
        )
    ]
    assert names[0] == "mobilenet"
    assert len(set(names)) == len(names)


def test_unknown_backbone() -> None:
    with pytest.raises(UnknownBackboneError, match="Did you mean 'mobilenet'.*featx backbones"):
        featx.load_backbone("mobilnet")


def test_register_requires_free_name(counting: CountingBackbone) -> None:
    featx.register_backbone(counting)
    with pytest.raises(OptionError, match="another backbone has this name"):
        featx.register_backbone(CountingBackbone())


def test_register_checks_backbone() -> None:
    class Unversioned(CountingBackbone):
        name = "unversioned"

        def __getattribute__(self, name: str) -> object:
            if name == "version":
                raise AttributeError(name)
            return super().__getattribute__(name)

    class Derived(KerasBackbone):
        pass

    with pytest.raises(OptionError, match="has no version. Set the class attribute"):
        featx.register_backbone(Unversioned())
    with pytest.raises(OptionError, match="subclass of KerasBackbone"):
        featx.register_backbone(Derived(**{**dataclasses.asdict(MOBILENET), "name": "derived"}))


class _Invalid(CountingBackbone):
    name = "invalid"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"n_features": 3}, r"n_features of .* must be a method, got 3. Define it: def n_features.self, pooling."),
        ({"extract": None}, "extract of .* must be a method, got None"),
        ({"n_features": lambda self, pooling: None}, "n_features of .* must return an integer of at least 1, got None"),
        ({"n_features": lambda self, pooling: 1 // 0}, "n_features of .* raised ZeroDivisionError: .*zero. Fix it."),
        ({"n_features": lambda self, pooling: 0}, "must return an integer of at least 1, got 0"),
        ({"image_size": "32"}, "image_size of .* must be an integer of at least 1, got '32'. Set image_size = 224"),
        ({"min_image_size": None}, "min_image_size of .* must be an integer of at least 1, got None"),
        ({"name": ""}, "name of a backbone must be a str that is not empty, got ''"),
        ({"name": 5}, "name of a backbone must be a str that is not empty, got 5"),
    ],
)
def test_register_checks_attributes(attributes: dict[str, Any], message: str) -> None:
    backbone = type("Invalid", (_Invalid,), attributes)()
    with pytest.raises(OptionError, match=message):
        featx.register_backbone(backbone)
    assert "invalid" not in featx.available_backbones()


def test_register_requires_an_instance() -> None:
    with pytest.raises(OptionError, match="backbone must be an instance of DirectBackbone or KerasBackbone, got 5"):
        featx.register_backbone(5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"Pass an instance: CountingBackbone\(\)"):
        featx.register_backbone(CountingBackbone)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="got 5"), registered(5):  # type: ignore[call-overload]
        pass


def test_unregister_names_what_is_registered(counting: CountingBackbone) -> None:
    with pytest.raises(OptionError, match=r"'mobilenet': it was not registered.*added \(one of 'counting'\)"):
        featx.unregister_backbone("mobilenet")


def test_unsupported_file(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(UnknownBackboneError, match="is not a SavedModel: it has no saved_model.pb"):
        featx.load_backbone(str(tmp_path))
    with pytest.raises(
        UnknownBackboneError, match=r"format of the file .*net.pt' is not supported: expected .keras, .*\.onnx"
    ):
        featx.load_backbone(str(tmp_path / "net.pt"))


def test_direct_backbone_has_no_weights_or_layers(
    counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = {ExtractionOptions("color_histogram", pooling=pooling).resolve().recipe for pooling in ("avg", "max")}
    assert len(recipes) == 1
    with pytest.raises(OptionError, match="cannot be set for 'counting', got None: the backbone is plain Python"):
        ExtractionOptions("counting", weights=None).resolve()
    beside = argparse.Namespace(backbone=["mobilenet", "counting"], weights=None)
    assert console.options_from(beside, "counting").weights == "imagenet"
    beside.engine = "keras"
    assert console.options_from(beside, "counting").engine == "auto"
    assert console.options_from(beside, "mobilenet").engine == "keras"
    with pytest.raises(OptionError, match="engine .--engine. must be 'auto' for backbone 'counting', got 'keras'"):
        ExtractionOptions("counting", engine="keras").resolve()
    assert console.options_from(beside, "mobilenet").weights is None
    assert featx.cli.main.main(["backbones", "counting", "--layers"]) == 2
    assert "is a plain Python backbone without layers" in capsys.readouterr().err
    assert featx.cli.main.main(["backbones", ""]) == 2
    assert "Unknown backbone ''" in capsys.readouterr().err


def test_list_shows_min_image_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["backbones", "xception", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["min_image_size"] == 71


def test_invalid_image_size_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["extract", "photos", "--image-size", "224x"]) == 2
    message = capsys.readouterr().err
    assert "--image-size must be an int or (height, width)" in message
    assert message.count("\n") == 1


def test_error_in_direct_backbone_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(CountingBackbone):
        name = "broken"

        def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setitem(featx.backbones.registry._registered, "broken", Broken())
    extractor = featx.FeatureExtractor("broken", cache=None)
    with pytest.raises(
        EngineError, match="'broken' failed on 1 image .ZeroDivisionError: nothing to.*Fix its"
    ) as caught:
        extractor.transform(np.zeros((1, 8, 8, 3), np.uint8))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
