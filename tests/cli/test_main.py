from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cli import main as cli
from featx.cli.commands import compare
from featx.cli.parser import make_parser
from featx.testing import CountingBackbone
from tests.test_docs import shown_demo, without_measurements

COMMANDS = [
    *("extract", "compare", "rank", "train", "model", "predict", "explain", "export", "similar", "duplicates"),
    *("check", "benchmark", "demo", "backbones", "job", "cache"),
]
JOB_COMMANDS = ["job plan", "job run", "job status", "job merge"]
CACHE_COMMANDS = ["cache info", "cache verify", "cache compact", "cache clear"]
SUMMARY = [
    "rows",
    "features",
    "computed",
    "cached",
    "failed",
    "padded",
    "seconds",
    "images_per_second",
    "backbone",
    "precision",
    "engine",
    "fingerprint",
    "output",
]


@pytest.fixture(autouse=True)
def _messages_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command line's way of showing warnings and messages out of the other tests."""
    monkeypatch.setattr(cli, "show_messages", lambda quiet: None)


def featx(*args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "featx", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert "featx demo" in featx("--help").stdout
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize("command", COMMANDS + JOB_COMMANDS + CACHE_COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = featx(*command.split(), "--help")
    assert done.returncode == 0
    assert "example" in done.stdout
    assert f"featx {command}" in done.stdout.split("example")[1]


def test_every_command_is_tried_above_and_named_in_the_readme() -> None:
    (commands,) = [
        action.choices for action in make_parser()._actions if isinstance(getattr(action, "choices", None), dict)
    ]
    assert list(commands) == COMMANDS
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert all(f"featx {command}" in readme for command in COMMANDS + JOB_COMMANDS + CACHE_COMMANDS)


def test_extract_prints_a_summary(
    photo_folder: Path, in_folder: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["extract", str(photo_folder), "--backbone", "counting", "-o", "f.npy"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("24 rows of 12 features in f.npy; paths and labels in f.csv\n24 computed, 0 from the store")
    assert "images/s" in err
    assert counting.n_images == 24


@pytest.mark.usefixtures("counting")
def test_extract_prints_one_json_object(
    photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    args = ["extract", str(photo_folder), "--backbone", "counting", "--json", "--quiet", "--cache", "my-cache"]
    for computed, cached in ((23, 0), (0, 23)):
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        summary = json.loads(out)
        assert list(summary) == SUMMARY
        assert (summary["rows"], summary["computed"], summary["cached"], summary["failed"]) == (23, computed, cached, 1)
        assert err == ""
    assert (in_folder / "my-cache" / "features" / summary["fingerprint"]).is_dir()
    assert np.load("features.npy").shape == (23, 12)


def test_options_reach_the_recipe(photo_folder: Path, in_folder: Path, counting: CountingBackbone) -> None:
    args = ["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--cache", "c"]
    options = ["--image-size", "48", "--resize", "crop", "--pooling", "max", "--batch-size", "5"]
    assert cli.main([*args, *options, "--precision", "float32", "--engine", "auto"]) == 0
    (description,) = (in_folder / "c").glob("features/*/recipe.json")
    recipe = json.loads(description.read_text())["recipe"]
    assert recipe["image_size"] == [48, 48]
    assert (recipe["resize"], recipe["pooling"], recipe["precision"]) == ("crop", "max", "float32")


@pytest.mark.usefixtures("in_folder")
def test_no_cache_keeps_nothing(photo_folder: Path, counting: CountingBackbone) -> None:
    args = ["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--no-cache"]
    assert cli.main(args) == cli.main(args) == 0
    assert counting.n_images == 48
    assert sorted(os.listdir()) == ["features.csv", "features.npy"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_prints_a_table(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["compare", str(photo_folder), "--backbone", "counting", "--cv", "3", "--csv", "scores.csv"]
    assert cli.main([*args, "--estimator", "knn", "--estimator", "dummy"]) == 0
    out, err = capsys.readouterr()
    assert "24 images, 2 classes" in out
    assert "* best: " in out
    assert "Comparing: knn" in err
    with open("scores.csv", newline="") as file:
        assert [row["estimator"] for row in csv.DictReader(file)] == ["knn", "dummy"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_prints_one_json_object(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(photo_folder), "--backbone", "counting", "--cv", "3", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["rows"], compared["classes"], compared["features"]) == (24, 2, 12)
    assert set(compared["best"]) == {"backbone", "layer", "pooling", "estimator"}
    assert compared["task"] == "classification"
    assert "NaN" not in json.dumps(compared)
    expected = {"backbone", "estimator"} | {
        f"{score}_{stat}" for score in ("accuracy", "f1_macro") for stat in ("mean", "std")
    }
    assert all(expected | {"fit_seconds", "predict_seconds"} <= set(result) for result in compared["results"])
    assert [result["estimator"] for result in compared["results"]] == ["dummy", "logreg", "svm", "knn"]


@pytest.mark.usefixtures("in_folder")
def test_rank_prints_a_table_and_the_second_time_computes_nothing(
    photo_folder: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    poolings = ["--pooling", "avg", "--pooling", "max"]
    args = [
        "rank",
        str(photo_folder),
        "--backbone",
        "counting",
        *poolings,
        "--duplicate-threshold",
        "1",
        "--csv",
        "ranks.csv",
    ]
    for _ in range(2):
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        assert out.startswith("24 images, 2 classes; ")
        assert "* best: counting " in out
        assert "Ranking: counting max" in err
        assert counting.n_images == 48
    with open("ranks.csv", newline="") as file:
        assert sorted(row["pooling"] for row in csv.DictReader(file)) == ["avg", "max"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_rank_prints_one_json_object(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    args = ["rank", str(photo_folder), "--backbone", "counting", "--duplicate-threshold", "1", "--json", "--quiet"]
    assert cli.main(args) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert (found["rows"], found["classes"], found["failed"], found["computed"]) == (23, 2, 1, 23)
    criteria = {"loo_ridge", "logme", "loo_knn", "h_score"}
    assert criteria | {f"{name}_rank" for name in criteria} | {"backbone", "layer", "pooling"} <= set(found["best"])
    assert found["ranking"] == [found["best"]]


@pytest.mark.usefixtures("in_folder")
def test_the_demo_shows_the_whole_job_and_the_second_time_computes_nothing(
    compiled_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    for computed, cached in ((1797, 0), (0, 1797)):
        assert cli.main(["demo", "--cache", "cache"]) == 0
        out, _ = capsys.readouterr()
        assert f"{computed} computed, {cached} from the store, 0 failed" in out
        if computed:  # as the README shows it
            assert without_measurements(out) == without_measurements(shown_demo())
    assert "featx-demo/digits" in out
    assert out.count("   featx ") == 2
    scores = {name: float(score) for name, score in _scores(out)}
    # A prototype of plain Keras and scikit-learn had 0.967, 0.953 and 0.945.
    assert scores["logreg"] > 0.957
    assert scores["svm"] > 0.943
    assert scores["knn"] > 0.935


def _scores(table: str) -> list[tuple[str, str]]:
    rows = [line.lstrip("* ").split() for line in table.splitlines() if "±" in line and "mobilenet" in line]
    return [(row[1], row[2]) for row in rows]


def test_backbones_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["backbones"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\nresnet50_v2 +2048 +224 +32 +23,564,800 +94\.3 +76\.0  (here|to be fetched)", out)
    assert cli.main(["backbones", "mobilenet", "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["85", "conv_pw_13_relu", "ReLU", "7×7×1024", "1024", "yes"]
    assert cli.main(["backbones", "--layers"]) == 1
    assert "of which network" in capsys.readouterr().err
    assert cli.main(["backbones", "--json"]) == 0
    listed = {row["backbone"]: row["features"] for row in json.loads(capsys.readouterr().out)}
    known = {"color_histogram": 512, "mobilenet": 1024, "mobilenet_v2": 1280, "resnet50": 2048, "convnext_xlarge": 2048}
    assert len(listed) == 51
    assert listed.items() >= known.items()


BAD = {
    "no such folder": (["extract", "absent"], "No such folder or file: 'absent'"),
    "no images": (["compare", "empty"], "No images in 'empty'"),
    "one class": (["compare", "one"], "at least two classes"),
    "column": (["compare", "table.csv", "--label-column", "lable"], "Did you mean 'label'?"),
    "no table": (
        ["compare", "photos", "--group-column", "site"],
        "group_column (--group-column) names the column 'site'",
    ),
    "near": (["compare", "photos", "--duplicate-threshold", "1.5"], "a cosine above 0 and up to 1"),
    "task": (["compare", "photos", "--task", "regresion"], "classification, regression"),
    "report": (["compare", "photos", "--report", "absent/r.html"], "Choose another file"),
    "one group": (["compare", "table.csv", "--group-column", "site"], "are in one group"),
    "missing files": (["compare", "gone.csv", "--backbone", "counting"], "None of the 4 images can be read"),
    "folds": (["compare", "photos", "--cv", "1"], "2 or more"),
    "backbone": (["extract", "photos", "--backbone", "mobilnet"], "Did you mean 'mobilenet'?"),
    "estimator": (["compare", "photos", "--estimator", "svn"], "Did you mean 'svm'?"),
    "cache": (["extract", "photos", "--cache", "empty/file.txt"], "cannot be written"),
    "output folder": (["extract", "photos", "-o", "absent/f.npy"], "there is no folder"),
    "image size": (["extract", "photos", "--image-size", "0"], "from 32 to 4096"),
    "weights": (["extract", "photos", "--weights", "absent.h5"], "absent.h5"),
    "random state": (["compare", "photos", "--random-state", "-1"], "from 0 to"),
    "jobs": (["compare", "photos", "--n-jobs", "0"], "-1 for one on each core"),
    "empty cache": (["extract", "photos", "--cache", ""], "expected a folder"),
    "rank without labels": (["rank", "photos/china/00.jpg"], "a folder for each class"),
    "rank one class": (["rank", "one"], "at least two classes"),
    "rank backbone": (["rank", "photos", "--backbone", "mobilnet"], "Did you mean 'mobilenet'?"),
    "rank groups": (
        ["rank", "photos", "--group-column", "site"],
        "group_column (--group-column) names the column 'site'",
    ),
    "csv": (["compare", "photos", "--backbone", "counting", "--csv", "absent/t.csv"], "Choose another file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_a_remedy_and_exit_code_1(
    case: str,
    in_folder: Path,
    photo_folder: Path,
    counting: CountingBackbone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args, remedy = BAD[case]
    (in_folder / "empty").mkdir()
    (in_folder / "empty" / "file.txt").write_text("")
    (in_folder / "one").mkdir()
    (in_folder / "one" / "china").symlink_to(photo_folder / "china")
    (in_folder / "photos").symlink_to(photo_folder)
    lines = [f"{path},{path.parent.name},a" for path in sorted(photo_folder.glob("*/*.jpg"))]
    (in_folder / "table.csv").write_text("\n".join(["path,label,site", *lines]))
    (in_folder / "gone.csv").write_text("path,label\n" + "".join(f"{at}.jpg,{'ab'[at % 2]}\n" for at in range(4)))
    assert cli.main([*args, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("Error: ")
    assert remedy in err


@pytest.mark.parametrize("args", [[], ["extrac"], ["extract"], ["extract", "x", "--pool", "avg"], ["demo", "--colour"]])
def test_wrong_usage_exits_with_2(args: list[str]) -> None:
    done = featx(*args)
    assert done.returncode == 2
    assert "usage: featx" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_one_line_and_the_next_goes_on_from_there(
    number: int, code: int, photo_folder: Path, in_folder: Path, compiled_cache: Path, photos: Any
) -> None:
    for n in range(600):
        photos[n % 24].crop((n % 60, n // 60, 120, 100)).save(photo_folder / "china" / f"{n}.png")
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    command = [sys.executable, "-m", "featx", "extract", str(photo_folder), "--cache", "cache", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 30
        while not list(in_folder.glob(".*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert running.returncode == code
    assert out == ""
    assert err.splitlines()[-1].startswith("Interrupted.")
    assert "Traceback" not in err
    assert os.listdir(in_folder) == ["cache"]
    assert not list(Path("cache").rglob("*.tmp"))
    assert featx("cache", "verify", "--cache", "cache").returncode == 0
    info = json.loads(featx("cache", "info", "--cache", "cache", "--json").stdout)
    kept = sum(recipe["rows"] for recipe in info["recipes"])
    again = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert again["rows"] == 624
    assert again["cached"] >= kept
    assert again["computed"] <= 624 - kept


@pytest.mark.usefixtures("in_folder", "counting")
def test_on_error_raise_stops_at_the_first_bad_image(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    for command in ("extract", "compare", "rank"):
        args = [command, str(photo_folder), "--backbone", "counting", "--on-error", "raise", "--quiet"]
        assert cli.main(args) == 1
        assert "05.jpg' (index 5): " in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_tells_what_it_left_out_and_random_state_decides_the_folds(
    photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    (photo_folder / "stray.png").write_bytes(b"")
    (photo_folder / "notes.txt").write_bytes(b"")
    tables = []
    for state in ("0", "1", "1"):
        args = ["compare", str(photo_folder), "--backbone", "counting", "--cv", "4", "--json", "--random-state", state]
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        tables.append([result["accuracy_mean"] for result in json.loads(out)["results"]])
    assert tables[0] != tables[1] == tables[2]
    warnings = json.loads(out)["warnings"]
    assert any(note.startswith("1 image left out as unreadable: ") for note in warnings)
    assert any(note.startswith("1 image without a label left out: ") for note in warnings)
    assert "1 file passed over, no images by their names: 1 .txt." in err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">/dev/full"])
def test_closed_or_full_streams_give_no_traceback(closed: str) -> None:
    command = f"{sys.executable} -m featx backbones {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if closed == ">/dev/full" else 0)


def test_a_console_without_unicode_is_served() -> None:
    done = featx("--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m featx backbones | head -n 0"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_warning_is_one_line_on_standard_error(in_folder: Path, photo_folder: Path, compiled_cache: Path) -> None:
    shutil.copytree(compiled_cache, "cache")
    Path("cache/digests.sqlite").write_bytes(b"not a database" * 100)
    done = featx("extract", photo_folder, "--cache", "cache", "--quiet")
    assert done.returncode == 0
    assert done.stderr.startswith("Warning: The index 'cache/digests.sqlite' cannot be used")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("in_folder", "counting")
def test_the_cache_is_told_checked_merged_and_cleared(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main([*args, "--cache", "cache"])
        return code, *capsys.readouterr()

    for name in ("china", "flower"):
        assert run("extract", str(photo_folder / name), "--backbone", "counting", "--quiet")[0] == 0
    assert "24 rows of 12 features" in run("cache", "info")[1]
    info = json.loads(run("cache", "info", "--json")[1])
    assert [recipe["segments"] for recipe in info["recipes"]] == [2]
    assert run("cache", "compact")[1] == f"{info['recipes'][0]['fingerprint']}: 2 segments → 1, 24 rows moved\n"
    assert [done["after"] for done in json.loads(run("cache", "compact", "--json")[1]).values()] == [1]
    assert run("cache", "verify")[:2] == (0, "cache: whole\n")
    (rows,) = Path("cache/features").glob("*/*.npy")
    rows.write_bytes(rows.read_bytes()[:-1])
    code, out, err = run("cache", "verify")
    assert code == 1
    assert f"{rows}: it should have" in out
    assert out.endswith("cache: 1 damaged\n")
    assert "Reading" in err
    code, out, err = run("cache", "verify", "--json", "--quiet")
    assert (code, json.loads(out)["damaged"], err) == (1, 1, "")
    assert run("cache", "compact")[0] == 1
    assert run("cache", "clear")[::2] == (1, "Error: Nothing was removed: answer y, or pass --yes.\n")
    assert "Did you mean 'counting'" in run("cache", "clear", "--backbone", "countin", "--yes")[2]
    assert "Removed" in run("cache", "clear", "--backbone", "counting", "--yes")[1]
    assert run("cache", "clear", "--corrupt-only")[0] == 1
    assert "Removed damaged files that were set aside, " in run("cache", "clear", "--corrupt-only", "--yes")[1]
    assert json.loads(run("cache", "clear", "--yes", "--json")[1])["rows"] == 0
    assert os.listdir("cache") == [".gitignore"]


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("yes\n", True), ("n\n", False), ("", False)])
@pytest.mark.usefixtures("in_folder", "counting")
def test_clearing_asks_a_person(
    answer: str, removed: bool, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    cli.main(["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--cache", "cache"])
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    capsys.readouterr()
    assert cli.main(["cache", "clear", "--cache", "cache"]) == (0 if removed else 1)
    assert "Remove 24 rows" in capsys.readouterr().err
    assert bool(list(Path("cache").rglob("*.npy"))) is not removed


@pytest.mark.usefixtures("counting")
def test_compare_takes_tables_test_sets_poolings_and_writes_what_is_asked_for(
    in_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"{path},{path.parent.name},{'test' if number % 4 == 0 else 'train'},{number // 2}"
        for number, path in enumerate(sorted(photo_folder.glob("*/*.jpg")))
    ]
    (in_folder / "table.csv").write_text("\n".join(["path,label,part,site", *lines]))
    common = ["--backbone", "counting", "--duplicate-threshold", "1", "--json", "--quiet"]
    assert cli.main(["compare", "table.csv", "--split-column", "part", *common]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "fitted on 18, scored on 6"
    assert found["results"][0]["accuracy_std"] is None
    assert cli.main(["compare", "table.csv", "--group-column", "site", "--cv", "3", "--repeats", "2", *common]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "3 stratified folds, 2 times"
    assert cli.main(["compare", str(photo_folder), "--test", "table.csv", *common]) == 1
    assert "rows to fit on" in capsys.readouterr().err  # the same files: nothing is left
    args = ["--pooling", "avg", "--pooling", "max", "--learning-curve", "--tune", "--estimator", "knn"]
    assert cli.main(["compare", "table.csv", "--cv", "3", *args, *common]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["pooling"] for row in found["results"]] == ["avg", "max"]
    assert found["learning_curve"][0]["n_per_class"] == 1
    assert found["results"][0]["best_params"].startswith("n_neighbors=")
    files = ["--csv", "scores.csv", "--label-issues", "labels.csv"]
    assert cli.main(["compare", "table.csv", "--cv", "3", *files, *common]) == 0
    with open("labels.csv") as file:
        assert next(csv.reader(file)) == [
            "path",
            "given",
            "suggested",
            "confidence",
            "probability_of_given",
        ]


@pytest.mark.usefixtures("counting")
def test_extract_takes_a_table(in_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{path.relative_to(photo_folder)},{path.parent.name}" for path in sorted(photo_folder.glob("*/*.jpg"))]
    (photo_folder / "table.csv").write_text("\n".join(["bild,art", *lines]))
    table = str(photo_folder / "table.csv")
    columns = ["--path-column", "bild", "--label-column", "art"]
    assert cli.main(["extract", table, *columns, "--backbone", "counting", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 24
    with open("features.csv") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["china"] * 12 + ["flower"] * 12


def test_the_control_stands_beside_layers_and_poolings_of_networks() -> None:
    command = "rank photos --backbone mobilenet --backbone color_histogram --layer 0.5 --layer -1 --pooling max"
    options = compare._all_options(make_parser().parse_args(command.split()))
    assert [(one.backbone, one.layer, one.pooling) for one in options] == [
        ("mobilenet", "0.5", "max"),
        ("mobilenet", "-1", "max"),
        ("color_histogram", None, "avg"),
    ]
