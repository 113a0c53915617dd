from __future__ import annotations

import json
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.extraction.benchmarking import rates
from featx.store.maintenance import clear_cache


def test_rates_are_shown_by_featx_backbones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates.save_rates(tmp_path, {"mobilenet": 512.34, "resnet50": 60.0})
    rates.save_rates(tmp_path, {"resnet50": 61.0})  # measured again
    assert rates.read_rates(tmp_path) == {"mobilenet": 512.3, "resnet50": 61.0}
    assert cli.main(["backbones", "--json", "--cache", str(tmp_path)]) == 0
    shown = {row["backbone"]: row["images_per_second"] for row in json.loads(capsys.readouterr().out)}
    assert (shown["mobilenet"], shown["resnet50"], shown["vgg16"]) == (512.3, 61.0, None)


def test_rates_of_another_processor_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates.save_rates(tmp_path, {"mobilenet": 512.0})
    monkeypatch.setattr(rates, "processor_name", lambda: "another one")
    assert rates.read_rates(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cpu": [1]}', '{"cpu": {"mobilenet": "fast"}}', "\x00"])
def test_corrupt_rates_are_ignored(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "processor_name", lambda: "cpu")
    (tmp_path / rates.RATES).write_text(text)
    assert rates.read_rates(tmp_path) == {}
    rates.save_rates(tmp_path, {"mobilenet": 1.0})
    assert rates.read_rates(tmp_path) == {"mobilenet": 1.0}


def test_rates_are_removed_with_the_cache(tmp_path: Path) -> None:
    rates.save_rates(tmp_path, {"mobilenet": 1.0})
    clear_cache(tmp_path)
    assert not (tmp_path / rates.RATES).exists()
    assert rates.read_rates(None) == {}
