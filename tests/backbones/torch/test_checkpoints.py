"""Weights and names of timm, torchvision and open_clip that cannot be used, and networks beside those of Keras."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, load_backbone, search_backbones
from featx.backbones.torch.names import TorchName
from featx.cli import main as cli
from featx.errors import OptionError, UnknownBackboneError, WeightsError, WeightsNotFoundError
from tests.backbones.hub.hub_server import COMMIT, OLD_COMMIT, serve_hub

pytest.importorskip("timm")
pytest.importorskip("open_clip")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MODEL = "timm/test_resnet.r160_in1k"


@pytest.fixture(scope="module", autouse=True)
def _shared_descriptions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Describe each network once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("descriptions")
        patch.setattr("featx.backbones.torch.describe.network_cache_folder", lambda: folder)
        yield


def save_model(path: Path) -> Any:
    import timm
    import torch

    torch.manual_seed(3)
    module = timm.create_model("test_resnet", num_classes=7)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in module.state_dict().items()}}, path)
    return module.eval()


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("code_was_run",)


@pytest.mark.thorough
def test_checkpoint_of_another_head_is_loaded(tmp_path: Path) -> None:
    import timm
    import torch

    module = save_model(tmp_path / "tuned.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), dtype=np.uint8)
    extractor = FeatureExtractor(
        MODEL, weights=tmp_path / "tuned.pth", resize="squash", precision="float32", cache=tmp_path / "cache"
    )
    rows = extractor.fit_transform(pixels)
    config = timm.data.resolve_data_config({}, model=module)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = module.forward_head(module.forward_features((images - mean) / std), pre_logits=True).numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert extractor.recipe_["pooling"] == "avg"
    assert extractor.recipe_["resize"] == "squash"


@pytest.mark.thorough
def test_checkpoint_of_a_network_with_a_format_of_its_authors(tmp_path: Path) -> None:
    """timm reads the authors' own files of these weights in another way than a tuned checkpoint."""
    import timm
    import torch

    model = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    torch.manual_seed(3)
    module = timm.create_model(model, num_classes=7).eval()
    torch.save(module.state_dict(), tmp_path / "tuned.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    rows = FeatureExtractor(
        f"timm/{model}", weights=tmp_path / "tuned.pth", resize="squash", precision="float32", cache=None
    ).fit_transform(pixels)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = module.forward_head(module.forward_features(images), pre_logits=True).numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("fields", "resize"),
    [
        ({"crop_pct": 1.15}, ""),
        ({"interpolation": "lanczos"}, ""),
        ({"interpolation": "bilinear"}, "crop 0.9 bilinear"),
        ({"input_size": [1, 28, 28]}, None),
    ],
)
def test_steps_that_featx_does_not_have(fields: dict[str, Any], resize: str | None, tmp_path: Path) -> None:
    from featx.backbones.torch.timm_library import configuration

    known = {"input_size": [3, 96, 96], "crop_pct": 0.9, "interpolation": "bicubic"}
    config = {"architecture": "test_resnet", "global_pool": "max", "pretrained_cfg": {**known, **fields}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = TorchName("timm", "", repository="org/net")
    if resize is not None:
        assert configuration(name, tmp_path / "config.json").resize == resize
        return
    with pytest.raises(OptionError, match="must take images of 3 channels, got 'hf-hub:org/net', which takes 1"):
        configuration(name, tmp_path / "config.json")


def test_file_with_code_is_refused(tmp_path: Path, in_folder: Path) -> None:
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"state_dict": _Code()}))
    extractor = FeatureExtractor(MODEL, weights=tmp_path / "code.pth", cache=None)
    with pytest.raises(WeightsError, match=r"the file contains code, which is not run. Save its tensors alone: safet"):
        extractor.fit_transform(np.zeros((1, 160, 160, 3), np.uint8))
    assert not (in_folder / "code_was_run").exists()


@pytest.mark.parametrize("kind", ["other network", pytest.param("text", marks=pytest.mark.thorough)])
def test_file_of_another_network_is_refused(kind: str, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.pth"
    if kind == "text":
        path.write_text("no weights")
    else:
        torch.save({"first": torch.zeros(3)}, path)
    extractor = FeatureExtractor(MODEL, weights=path, cache=None)
    with pytest.raises(WeightsError, match=r"Cannot load weights .* Pass a file that was saved from this network"):
        extractor.fit_transform(np.zeros((1, 160, 160, 3), np.uint8))


UNKNOWN = {
    "timm/test_resnet.a9": "has no weights 'a9' of 'test_resnet'. Did you mean 'timm/test_resnet.r160_in1k'",
    "timm/resnet5": "has no model 'resnet5'. Did you mean 'timm/resnet",
    "torchvision/resnet5": "has no model 'resnet5'. Did you mean 'torchvision/resnet",
    "torchvision/resnet18.V9": "has no weights 'V9' of 'resnet18'. It has IMAGENET1K_V1.",
    "open_clip/vit-b32": "has no model 'vit-b32'. Did you mean 'open_clip/ViT-B-32'",
    "open_clip/ViT-B-32:openais": "has no weights 'openais' of 'ViT-B-32'. Did you mean 'openai'?",
}


@pytest.mark.parametrize(
    "name", ["timm/test_resnet.a9", *(pytest.param(name, marks=pytest.mark.thorough) for name in list(UNKNOWN)[1:])]
)
def test_unknown_names_have_near_ones(name: str) -> None:
    with pytest.raises(UnknownBackboneError) as caught:
        load_backbone(name)
    assert UNKNOWN[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_options_that_a_network_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be 'cls' for 'timm/test_resnet.r160_in1k', which has no class token"):
        FeatureExtractor(MODEL, pooling="cls").fit([])
    with pytest.raises(WeightsNotFoundError, match=r"the path of a \.safetensors or \.pth file of this network"):
        FeatureExtractor(MODEL, weights=tmp_path / "none.pth").fit([])
    with pytest.raises(OptionError, match=r"cannot be a URL, got .* Download it, and pass its path"):
        FeatureExtractor(MODEL, weights="https://a.b/c.pth").fit([])
    with pytest.raises(UnknownBackboneError, match=r"names no weights. Append them .*:WEIGHTS; `featx backbones --sea"):
        FeatureExtractor("open_clip/ViT-S-32").fit([])
    with pytest.raises(OptionError, match="engine='keras' cannot run 'timm/test_resnet"):
        FeatureExtractor(MODEL, weights=None, engine="keras", cache=None).fit_transform(
            np.zeros((1, 160, 160, 3), np.uint8)
        )


def test_model_of_the_hub_in_the_format_of_timm(tmp_path: Path, python: Callable[..., Any]) -> None:
    """The real client of the hub downloads configuration and weights from a local server."""
    import timm
    from safetensors.torch import save

    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "model_args": {"checkpoint_path": "/absent/pickled.pth", "num_classes": 3},  # featx sets these
        "pretrained_cfg": {
            **{"input_size": [3, 96, 96], "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear"},
            **{"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "num_classes": 7, "classifier": "fc"},
            **{"source": "hf-hub", "hf_hub_id": "org/other", "url": "https://a.b/c.pth"},  # featx gets the weights
            "license": "cc-by-nc-4.0",
        },
    }
    weights = save(dict(timm.create_model("test_resnet", num_classes=7).state_dict()))
    files = {
        ("org/net", COMMIT, "config.json"): json.dumps({"architecture": "absent"}).encode(),
        ("org/net", OLD_COMMIT, "config.json"): json.dumps(config).encode(),
        ("org/net", OLD_COMMIT, "model.safetensors"): weights,
    }
    script = (
        "import json, numpy as np, featx\n"
        "extractor = featx.FeatureExtractor('hf-hub:org/net@v1', cache=None)\n"
        "rows = extractor.fit_transform(np.zeros((2, 100, 90, 3), np.uint8))\n"
        "print(json.dumps([rows.shape, extractor.recipe_]))"
    )
    with serve_hub(files) as server:
        hub = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1,localhost"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}  # of the user
        done = python(script, env={**clean, **hub})
    assert done.returncode == 0, done.stderr
    shape, recipe = json.loads(done.stdout)
    assert shape[0] == 2
    assert (recipe["backbone"], recipe["image_size"]) == ("hf-hub:org/net@v1", [96, 96])
    assert (recipe["resize"], recipe["preprocessing"]) == (
        "squash 0.9 bilinear",
        "127.5,127.5,127.5/63.75,63.75,63.75",
    )
    assert done.stderr.count("for non-commercial use only (cc-by-nc-4.0)") == 1


@pytest.mark.thorough
def test_search_lists_size_license_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    table = search_backbones("small dinov2").set_index("backbone")
    row = table.loc["timm/vit_small_patch14_dinov2.lvd142m"]
    assert (row["features"], row["image_size"], row["license"]) == (384, 518, "apache-2.0")
    assert 20e6 < row["parameters"] < 24e6
    assert row["source"] == "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m"
    assert cli.main(["backbones", "--search", "VIT-B-32 openai"]) == 0
    assert "open_clip/ViT-B-32:openai" in capsys.readouterr().out
