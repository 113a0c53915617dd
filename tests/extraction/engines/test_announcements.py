"""The first use of a network: it is announced in one line, and reports its progress."""

from __future__ import annotations

import logging
from pathlib import Path

import PIL.Image
import pytest

from featx import FeatureExtractor, Progress
from featx.cli.main import main
from featx.extraction.engines.engine import stop_engines
from tests.backbones.networks import save_onnx
from tests.progress import check_progress

LINE = "Converting {name} for this machine, which takes 5 to 60 seconds. {where}\n"


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(logging.getLogger("featx"), "handlers", [])  # an earlier command adds one
    stop_engines()
    save_onnx(tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


@pytest.fixture
def photo_path(tmp_path: Path) -> str:
    PIL.Image.new("RGB", (32, 32), "green").save(tmp_path / "green.png")
    return str(tmp_path / "green.png")


def test_a_conversion_is_announced_once_and_reported(
    network: str, photo_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Progress] = []
    extractor = FeatureExtractor(network, preprocessing="tf", cache=tmp_path / "cache")
    extractor.transform([photo_path], progress=seen.append)
    check_progress(seen)
    steps = [report.message for report in seen if report.stage == "convert"]
    assert [step.partition(", ")[2] for step in steps] == ["", "loading the network", *2 * ["writing the graph"]]
    where = f"It happens once: the result is kept in {str(tmp_path / 'cache' / 'compiled')!r}."
    assert capsys.readouterr().err == LINE.format(name=steps[0], where=where)
    stop_engines()
    seen.clear()
    FeatureExtractor(network, preprocessing="tf", pooling="max", cache=tmp_path / "cache").transform(
        [photo_path], progress=seen.append
    )
    assert {report.stage for report in seen} == {"extract"}
    assert capsys.readouterr().err == ""


def test_without_a_cache_it_is_repeated(network: str, photo_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    FeatureExtractor(network, preprocessing="tf", cache=None).transform([photo_path])
    assert capsys.readouterr().err.endswith("Without a cache, each process repeats it.\n")


def test_silence(network: str, photo_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    FeatureExtractor(network, preprocessing="tf", cache=None, verbose=False).transform([photo_path])
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("in_folder")
def test_the_command_line_announces_it(network: str, photo_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", photo_path, "--backbone", network, "--preprocessing", "tf", "--cache", "cache"]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "It happens once: the result is kept in 'cache/compiled'." in err
    assert "100%|##########| 3/3 steps" in err
    stop_engines()
    assert main([*command, "--pooling", "max", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
