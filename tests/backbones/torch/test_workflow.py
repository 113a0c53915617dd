"""Everything that networks of Keras can do, with a network of timm: compared, ranked, trained, explained, exported."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
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

    split = ["--no-duplicate-groups", "--cv", "2"]
    ranked = json.loads(run("rank", "photos", *network, "--layer", "0.5", "--layer", "1.0", split[0], "--json"))
    assert len(ranked["ranking"]) == 2
    for precision in ("float32", "int8"):
        options = [*network, "--precision", precision, *split, "--estimator", "logreg"]
        (row,) = json.loads(run("compare", "photos", *options, "--json"))["results"]
        assert row["backbone"] == MODEL
    names = [MODEL, "timm/test_efficientnet.r160_in1k"]
    both = [word for name in names for word in ("--backbone", name)]
    options = [*both, "--weights", "none", "--precision", "float32", *split, "--estimator", "knn"]
    rows = json.loads(run("compare", "photos", *options, "--json"))["results"]
    assert [row["backbone"] for row in rows] == names
    trained = run("train", "photos", *network, "--precision", "float32", "--estimator", "logreg", *split)
    assert "model: model.skops" in trained
    predicted = list(csv.DictReader(io.StringIO(run("predict", "model.skops", "photos/china"))))
    assert {row["label"] for row in predicted} <= {"china", "flower"}
    (explained,) = json.loads(run("explain", "model.skops", "photos/china/0.png", "-o", "maps", "--json"))
    assert (explained["method"], explained["error"]) == ("activation", "")
    assert "maximum difference from the model" in run("export", "model.skops", "-o", "exported")
    assert Path("exported/model.xml").is_file()
    run("job", "plan", "photos", "-o", "job", *network, "--precision", "float32", "--shard-size", "10")
    run("job", "run", "job")
    run("extract", "photos", *network, "--precision", "float32")
    np.testing.assert_array_equal(np.asarray(open_features("job")), np.load("features.npy"))
    for network_file in Path().glob("*.pth"):
        network_file.unlink()
    code = "import sys; sys.modules.update(torch=None, timm=None); from featx.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "predict", "model.skops", "photos/china", "--no-cache"]
    environment = {**os.environ, "XDG_CACHE_HOME": "/dev/null"}
    alone = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert [row["label"] for row in csv.DictReader(io.StringIO(alone.stdout))] == [row["label"] for row in predicted], (
        alone.stderr
    )
