"""Names of networks of timm, torchvision and open_clip, where none of them is installed."""

from __future__ import annotations

import re

import pytest

from featx import load_backbone, search_backbones
from featx.backbones.hub.licenses import license_note
from featx.backbones.torch import names
from featx.backbones.torch.names import TorchName, parse_name
from featx.errors import MissingDependencyError, UnknownBackboneError


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timm/resnet50.a1_in1k", TorchName("timm", "resnet50", "a1_in1k")),
        ("timm/resnet50", TorchName("timm", "resnet50")),
        ("torchvision/swin_t.IMAGENET1K_V1", TorchName("torchvision", "swin_t", "IMAGENET1K_V1")),
        ("open_clip/ViT-B-32:laion2b_s34b_b79k", TorchName("open_clip", "ViT-B-32", "laion2b_s34b_b79k")),
        ("hf-hub:org/model.v1", TorchName("timm", "", repository="org/model.v1")),
        ("hf-hub:org/model@v1", TorchName("timm", "", repository="org/model", revision="v1")),
    ],
)
def test_names_are_parsed_and_written(text: str, expected: TorchName) -> None:
    assert parse_name(text) == expected
    assert expected.text == text


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("name", "extra"),
    [("timm/resnet50.a1_in1k", "timm"), ("torchvision/resnet50", "timm"), ("open_clip/ViT-B-32:openai", "clip")],
)
def test_missing_library_names_the_extra(name: str, extra: str) -> None:
    with pytest.raises(MissingDependencyError, match=re.escape(f"Install it: pip install 'featx[{extra}]'.")):
        load_backbone(name)


@pytest.mark.parametrize(
    "name", ["timm/", "torchvision/", "open_clip/:openai", "hf-hub:resnet50", "hf-hub:a/b/c", "hf-hub:a/b@"]
)
def test_incomplete_name_has_an_example(name: str) -> None:
    with pytest.raises(UnknownBackboneError, match=r"as in '|such as '"):
        load_backbone(name)


@pytest.mark.usefixtures("nothing_installed")
def test_search_without_libraries_finds_networks_of_keras() -> None:
    table = search_backbones("ResNet50")
    assert set(table["backbone"]) >= {"resnet50", "resnet50_v2"}
    assert list(table.columns) == [
        *("backbone", "features", "image_size", "parameters", "megabytes", "license", "source"),
    ]
    with pytest.raises(UnknownBackboneError, match=r"Install others: pip install 'featx\[timm,clip\]'"):
        search_backbones("dinov2")


@pytest.mark.parametrize(
    ("license_name", "expected"),
    [
        ("apache-2.0", ""),
        ("MIT", ""),
        ("", ""),
        ("cc-by-nc-4.0", "for non-commercial use only (cc-by-nc-4.0): https://a.b"),
        ("fair-noncommercial-research-license", "for non-commercial use only"),
        ("apple-amlr", "for non-commercial use only"),
        ("dinov3-license", "conditions of its own (dinov3-license)"),
        ("nvidia-open-model-license", "conditions of its own"),
    ],
)
def test_restricting_licenses_are_noted(license_name: str, expected: str) -> None:
    note = license_note("timm/a.b", license_name, "https://a.b")
    assert expected in note
    assert bool(expected) == bool(note)


def test_import_of_featx_and_of_names_is_light(python: object) -> None:
    done = python(  # type: ignore[operator]
        "import sys, featx; from featx.backbones.torch import torch_backbone\n"
        "print([name for name in ('torch', 'timm', 'huggingface_hub', 'pandas') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr
