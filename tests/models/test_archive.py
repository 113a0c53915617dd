"""Corrupt, modified and crafted model files are refused."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from featx import explain_images, export_model, load_pipeline, predict_images, save_pipeline
from featx.baselines.estimators import make_baseline
from featx.errors import ModelFileError
from featx.models.model_file import read_model
from tests.models.model_samples import change_description, extractor, rewrite_model

Array = np.ndarray[Any, Any]


def modify_weights(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("featx/scores"))
    members[name] = members[name][:-4] + b"\x00\x00\x80\x3f"


def add_untrusted_function(members: dict[str, bytes]) -> None:
    members["schema.json"] = members["schema.json"].replace(b"scale_to_unit_length", b"_quietly_evil")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (modify_weights, "corrupt or was modified: an array of its head was modified"),
        (lambda members: members.pop("schema.json"), "a file of its scikit-learn pipeline is missing"),
        (lambda members: members.update({"evil.npy": b"x"}), "the file 'evil.npy' was added"),
        (lambda members: members.update({"featx.json": b"{}"}), "its description is invalid"),
        (
            lambda members: members.update({"featx.json": b'{"format": 99, "files": {}}'}),
            "got 99. Install a newer version of featx",
        ),
    ],
    ids=["array modified", "file missing", "file added", "no description", "other format"],
)
def test_modified_model_is_refused(change: Any, reason: str, model: Path, tmp_path: Path) -> None:
    altered = rewrite_model(model, tmp_path / "altered.skops", change)
    with pytest.raises(ModelFileError, match=reason):
        load_pipeline(altered)


def test_untrusted_code_is_refused_with_valid_checksums(model: Path, tmp_path: Path) -> None:
    altered = rewrite_model(model, tmp_path / "altered.skops", add_untrusted_function, digests=True)
    with pytest.raises(ModelFileError, match=r"untrusted types .*_quietly_evil.* could execute code"):
        load_pipeline(altered)


def test_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    skops.io.dump(LogisticRegression(), tmp_path / "plain.skops")
    (tmp_path / "text.skops").write_text("words")
    (tmp_path / "cut.skops").write_bytes(model.read_bytes()[:-900])
    with zipfile.ZipFile(tmp_path / "packed.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("featx.json", "0" * 10_000)
    for name, reason in {
        "plain.skops": "has no featx.json",
        "text.skops": "not a zip archive, or is truncated. Pass a file that",
        "cut.skops": "not a zip archive, or is truncated",
        "packed.skops": "compressed",
        "absent.skops": "Cannot read model .*: No such file.*featx train",
    }.items():
        with pytest.raises(ModelFileError, match=reason):
            read_model(tmp_path / name)


def test_corrupt_central_directory(model: Path, tmp_path: Path) -> None:
    data = bytearray(model.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    for at in (end + 12, end + 14, end + 16, end + 18):  # number of members, and length and start of their list
        damaged = tmp_path / "damaged.skops"
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(ModelFileError) as caught:
            read_model(damaged)
        assert "corrupt or was modified: bytes of the archive were changed" in str(caught.value)
        assert "seek" not in str(caught.value)


def test_truncated_and_corrupt_files(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    rng = np.random.default_rng(0)
    damaged = tmp_path / "damaged.skops"
    for at in rng.integers(0, len(data), 60):
        damaged.write_bytes(data[:at] if at % 2 else data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            pipeline = load_pipeline(damaged)
        except ModelFileError:
            continue
        assert isinstance(pipeline, Pipeline)  # bytes that the zip format ignores


@pytest.mark.parametrize("name", ["logreg", "svm", "knn", "lda"])
def test_head_of_other_pipeline_is_refused(
    name: str, digits: list[Path], digit_labels: list[str], tmp_path: Path
) -> None:
    pipeline = make_pipeline(extractor(cache=None), make_baseline(name)).fit(digits, digit_labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    assert load_pipeline(tmp_path / "model.skops").predict(digits).tolist() == pipeline.predict(digits).tolist()
    altered = rewrite_model(tmp_path / "model.skops", tmp_path / "altered.skops", modify_weights, digests=True)
    openers = (
        load_pipeline,
        lambda path: read_model(path).pipeline,
        lambda path: explain_images(path, [], cache=None),
        lambda path: export_model(path, tmp_path / "model.onnx", cache=None),
    )
    for open_model in openers:
        with pytest.raises(ModelFileError, match="its head is not that of its scikit-learn pipeline"):
            open_model(altered)


def test_modified_description_is_refused(model: Path, tmp_path: Path) -> None:
    def swap(members: dict[str, bytes]) -> None:
        text = members["featx.json"].replace(b'["0", "1", "2", "3"]', b'["3", "2", "1", "0"]')
        assert text != members["featx.json"]
        members["featx.json"] = text

    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    swap(members)
    with zipfile.ZipFile(tmp_path / "swapped.skops", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ModelFileError, match="its description was modified"):
        read_model(tmp_path / "swapped.skops")
    with pytest.raises(
        ModelFileError, match=r"has other classes than its pipeline \(written by featx 0.*, or train the model again"
    ):
        load_pipeline(rewrite_model(model, tmp_path / "again.skops", swap))


def empty_array(members: dict[str, bytes]) -> None:
    members["featx/training.npy"] = b""


def huge_array(members: dict[str, bytes]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    members["featx/training.npy"] = header.getvalue()


def array_of_other_width(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(7, dtype=np.float32))
    members["featx/scores-0-bias.npy"] = buffer.getvalue()


def other_training_rows(members: dict[str, bytes], rows: Any = ((1, 0, 0),) * 5) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows, dtype=np.float16))
    members["featx/training.npy"] = buffer.getvalue()


def nan_training_rows(members: dict[str, bytes]) -> None:
    other_training_rows(members, np.full((5, 512), np.nan))


def network_outside_folder(members: dict[str, bytes]) -> None:
    members["featx-network/.."] = b"x"


@pytest.mark.parametrize(
    "change",
    [empty_array, huge_array, array_of_other_width, other_training_rows, nan_training_rows, network_outside_folder],
)
def test_crafted_members_are_refused(change: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="corrupt or was modified"):
        read_model(rewrite_model(model, tmp_path / "crafted.skops", change, digests=True))


@pytest.mark.parametrize(
    "changed", [{"files": []}, {"files": 7}, {"card": {}}, {"head": {"scores": [{"step": "Evil"}]}}]
)
def test_crafted_descriptions_are_refused(changed: dict[str, Any], model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="corrupt or was modified"):
        read_model(change_description(model, tmp_path / "crafted.skops", **changed))


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.skops")
    for path in (tmp_path / "pipe.skops", tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="Cannot (load|read) model"):
            read_model(path)


def test_model_of_older_format_is_refused(model: Path, digits: list[Path], tmp_path: Path) -> None:
    """Every reader refuses it in one line and leaves the file; a new model may replace it."""
    older = change_description(model, tmp_path / "older.skops", format=1)
    content = older.read_bytes()
    readers = (
        load_pipeline,
        read_model,
        lambda path: predict_images(path, digits[:1], cache=None),
        lambda path: explain_images(path, digits[:1], cache=None),
        lambda path: export_model(path, tmp_path / "model.onnx", cache=None),
    )
    for read in readers:
        with pytest.raises(ModelFileError, match="expected format 3 .*, got 1. Train the model again") as caught:
            read(older)
        assert "\n" not in str(caught.value)
    assert older.read_bytes() == content
    save_pipeline(load_pipeline(model), older)
    assert load_pipeline(older).classes_.tolist() == ["0", "1", "2", "3"]
