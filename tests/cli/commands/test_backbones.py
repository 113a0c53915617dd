"""featx backbones."""

from __future__ import annotations

import json
import re

import pytest

from featx.cli import main as cli


def test_backbones_lists_backbones_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["backbones"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\nresnet50_v2 +2,048 +224 +32 +23,564,800 +94\.3 +0\.760  (local|download)", out)
    assert cli.main(["backbones", "mobilenet", "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["85", "conv_pw_13_relu", "ReLU", "7×7×1024", "1,024", "yes"]
    assert cli.main(["backbones", "--layers"]) == 2
    assert "requires the name of a backbone" in capsys.readouterr().err
    assert cli.main(["backbones", "--json"]) == 0
    listed = {row["backbone"]: row["features"] for row in json.loads(capsys.readouterr().out)}
    known = {"color_histogram": 512, "mobilenet": 1024, "mobilenet_v2": 1280, "resnet50": 2048, "convnext_xlarge": 2048}
    assert len(listed) == 51
    assert listed.items() >= known.items()


def test_backbones_show_license_and_origin_of_weights(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["backbones", "--json"])
    rows = {row["backbone"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["mobilenet"]["license"], rows["mobilenet"]["origin"]) == (
        "Apache-2.0",
        "https://github.com/tensorflow/models",
    )
    assert rows["color_histogram"]["license"] is None
    cli.main(["backbones", "convnext_tiny"])
    out = capsys.readouterr().out
    assert "MIT" in out
    assert "github" not in out
