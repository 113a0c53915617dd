"""Bad input: one line with a remedy, and exit code 1; 2 for invalid values of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.testing import CountingBackbone

BAD = {
    "no such folder": (["extract", "absent"], "No such folder or file: 'absent'"),
    "no images": (["compare", "empty"], "No images in 'empty'"),
    "one class": (["compare", "one"], "at least two classes"),
    "column": (["compare", "table.csv", "--label-column", "lable"], "Did you mean 'label'?"),
    "no table": (
        ["compare", "photos", "--group-column", "site"],
        "--group-column names the column 'site'",
    ),
    "near": (["compare", "photos", "--duplicate-threshold", "1.5"], "must be a number above 0 and at most 1"),
    "task": (["compare", "photos", "--task", "regresion"], "'classification', 'regression'"),
    "report": (["compare", "photos", "--report", "absent/r.html"], "choose another file"),
    "one group": (["compare", "table.csv", "--group-column", "site"], "at least two groups, got one"),
    "missing files": (["compare", "gone.csv", "--backbone", "counting"], "Cannot read any of the 4 images"),
    "folds": (["compare", "photos", "--cv", "1"], "number of folds of at least 2"),
    "backbone": (["extract", "photos", "--backbone", "mobilnet"], "Did you mean 'mobilenet'?"),
    "estimator": (["compare", "photos", "--estimator", "svn"], "Did you mean 'svm'?"),
    "cache": (["extract", "photos", "--cache", "empty/file.txt"], "Cannot write to the feature cache"),
    "output folder": (["extract", "photos", "-o", "absent/f.npy"], "there is no folder"),
    "image size": (["extract", "photos", "--image-size", "0"], "from 32 to 4096"),
    "weights": (["extract", "photos", "--weights", "absent.h5"], "absent.h5"),
    "random state": (["compare", "photos", "--random-state", "-1"], "from 0 to"),
    "jobs": (["compare", "photos", "--n-jobs", "0"], "-1 for all cores"),
    "empty cache": (["extract", "photos", "--cache", ""], "must be a path"),
    "rank without labels": (["rank", "photos/china/00.jpg"], "one folder per class"),
    "rank one class": (["rank", "one"], "at least two classes"),
    "rank backbone": (["rank", "photos", "--backbone", "mobilnet"], "Did you mean 'mobilenet'?"),
    "rank groups": (
        ["rank", "photos", "--group-column", "site"],
        "--group-column names the column 'site'",
    ),
    "csv": (["compare", "photos", "--backbone", "counting", "--csv", "absent/t.csv"], "choose another file"),
}
#: Values that are valid where a file or column of this name exists.
FILES = ("lable", "absent/r.html", "absent.h5", "empty/file.txt", "absent/t.csv", "absent/f.npy", "counting")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_prints_one_line_with_remedy(
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
    (in_folder / "gone.csv").write_text(
        "path,label\n" + "".join(f"{index}.jpg,{'ab'[index % 2]}\n" for index in range(4))
    )
    code = cli.main([*args, "--quiet"])
    is_usage = args[-2].startswith("--") and args[-1] not in FILES and args[1] != "table.csv"
    assert code == (2 if is_usage else 1)
    out, err = capsys.readouterr()
    assert out == ""
    error, *notes = err.splitlines()
    assert error.startswith("Error: ")
    assert all(note.startswith("Note: ") for note in notes)
    assert remedy in error


@pytest.mark.parametrize("command", ["compare", "rank", "train"])
def test_notes_on_the_data_follow_the_error(
    command: str, in_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_folder / "one").mkdir()
    (in_folder / "one" / "china").symlink_to(photo_folder / "china")
    (in_folder / "one" / "1.jpg").symlink_to(next(photo_folder.glob("flower/*.jpg")))
    output = ["-o", "model.skops"] if command == "train" else []
    assert cli.main([command, "one", "--backbone", "color_histogram", *output, "--quiet"]) == 1
    error, *notes = capsys.readouterr().err.splitlines()
    assert "got one class, 'china'" in error
    assert notes == [
        "Note: Images directly in 'one' have no label: they are next to class folders.",
        "Note: 1 image without a label excluded: one/1.jpg.",
    ]
