"""Everything that networks of Keras can do, with a network of timm: compared, ranked, trained, explained, exported."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from featx import open_features
from featx.cli import main as cli
from tests.backbones.torch.test_checkpoints import MODEL, save_model

pytest.importorskip("timm")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_all_commands_work_with_a_network_of_timm(
    photos: list[PIL.Image.Image], in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(Path("weights.pth"))
    for number, photo in enumerate(photos):
        folder = Path("photos") / ("china" if number < 12 else "flower")
        folder.mkdir(parents=True, exist_ok=True)
        photo.resize((200, 170)).save(folder / f"{number}.png")
    network = ["--backbone", MODEL, "--weights", "weights.pth"]

    def run(*arguments: str) -> str:
        assert cli.main([*arguments, "--cache", "cache", "--quiet"]) == 0
        return capsys.readouterr().out

    ranked = json.loads(run("rank", "photos", *network, "--layer", "0.5", "--layer", "1.0", "--json"))
    assert len(ranked["results"]) == 2
    for precision in ("float32", "int8"):
        options = [*network, "--precision", precision, "--no-duplicate-groups", "--cv", "2"]
        compared = json.loads(run("compare", "photos", *options, "--estimator", "logreg", "--json"))
        assert compared["results"][0]["backbone"] == MODEL
    both = ["--backbone", MODEL, "--backbone", "timm/test_efficientnet.r160_in1k", "--weights", "none"]
    compared = json.loads(run("compare", "photos", *both, "--precision", "float32", "--estimator", "knn", "--json"))
    assert [row["backbone"] for row in compared["results"]] == [MODEL, "timm/test_efficientnet.r160_in1k"]
    trained = run("train", "photos", *network, "--precision", "float32", "--estimator", "logreg", "--cv", "2")
    assert "model: model.skops" in trained
    predicted = list(csv.DictReader(io.StringIO(run("predict", "model.skops", "photos/china"))))
    assert {row["label"] for row in predicted} <= {"china", "flower"}
    explained = [*("photos/china/0.png", "-o", "maps"), *("--method", "activation")]
    assert "photos/china/0.png" in run("explain", "model.skops", *explained)
    assert "maximum difference from the model" in run("export", "model.skops", "-o", "exported")
    assert Path("exported/model.xml").is_file()
    run("job", "plan", "photos", "-o", "job", *network, "--precision", "float32", "--shard-size", "10")
    run("job", "run", "job")
    run("extract", "photos", *network, "--precision", "float32")
    np.testing.assert_array_equal(np.asarray(open_features("job")), np.load("features.npy"))
