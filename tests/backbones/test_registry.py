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
from featx.testing import CountingBackbone

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
    assert console.options_from(beside, "mobilenet").weights is None
    assert featx.cli.main.main(["backbones", "counting", "--layers"]) == 1
    assert "is a plain Python backbone without layers" in capsys.readouterr().err
    assert featx.cli.main.main(["backbones", ""]) == 1
    assert "Unknown backbone ''" in capsys.readouterr().err


def test_list_shows_min_image_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["backbones", "xception", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["min_image_size"] == 71


def test_invalid_image_size_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["extract", "photos", "--image-size", "224x"]) == 1
    message = capsys.readouterr().err
    assert "image_size (--image-size) must be an int or (height, width)" in message
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
