"""featx cache."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.store.layout import MARKS


@pytest.mark.usefixtures("in_folder", "counting")
def test_info_verify_compact_and_clear(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main([*args, "--cache", "cache"])
        return code, *capsys.readouterr()

    for name in ("china", "flower"):
        assert run("extract", str(photo_folder / name), "--backbone", "counting", "--quiet")[0] == 0
    text = run("cache", "info")[1]
    assert "24 rows of 12 features" in text
    assert "avg, version 1\n" in text
    info = json.loads(run("cache", "info", "--json")[1])
    assert [recipe["segments"] for recipe in info["recipes"]] == [2]
    assert run("cache", "compact")[1] == f"{info['recipes'][0]['fingerprint']}: 2 segments → 1, 24 rows moved\n"
    assert [done["after"] for done in json.loads(run("cache", "compact", "--json")[1]).values()] == [1]
    assert run("cache", "verify")[:2] == (0, "cache: no corrupt files\n")
    (rows,) = Path("cache/features").glob("*/*.npy")
    rows.write_bytes(rows.read_bytes()[:-1])
    code, out, err = run("cache", "verify")
    assert code == 1
    assert f"{rows}: expected " in out
    assert out.endswith("cache: 1 corrupt file\n")
    assert "verify compiled graphs and file index: 100%" in err
    code, out, err = run("cache", "verify", "--json", "--quiet")
    assert (code, json.loads(out)["corrupt"], err) == (1, 1, "")
    assert run("cache", "compact")[0] == 1
    assert run("cache", "clear")[::2] == (
        2,
        "Error: Cannot ask for confirmation: standard input is no terminal. Pass --yes to remove the files.\n",
    )
    assert run("cache", "clear", "--dry-run")[:2] == (0, run("cache", "clear", "--dry-run")[1])
    assert rows.exists()
    assert "Did you mean 'counting'" in run("cache", "clear", "--backbone", "countin", "--yes")[2]
    assert "Removed" in run("cache", "clear", "--backbone", "counting", "--yes")[1]
    assert run("cache", "clear", "--corrupt-only")[0] == 2
    assert "Removed quarantined corrupt files (" in run("cache", "clear", "--corrupt-only", "--yes")[1]
    assert json.loads(run("cache", "clear", "--yes", "--json")[1])["rows"] == 0
    assert sorted(os.listdir("cache")) == sorted(MARKS)


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("yes\n", True), ("n\n", False), ("", False)])
@pytest.mark.usefixtures("in_folder", "counting")
def test_clear_asks_for_confirmation(
    answer: str, removed: bool, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    cli.main(["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--cache", "cache"])
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    capsys.readouterr()
    assert cli.main(["cache", "clear", "--cache", "cache"]) == (0 if removed else 1)
    err = capsys.readouterr().err
    assert "Would remove 24 rows" in err
    assert ("Nothing was removed." in err) is not removed
    assert bool(list(Path("cache").rglob("*.npy"))) is not removed
