"""Only the kinds of images that a service allows are read: clients cannot name files and addresses."""

from __future__ import annotations

import builtins
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import (
    FeatureExtractor,
    Predictor,
    explain_images,
    find_images,
    load_pipeline,
    predict_images,
    read_model,
    save_pipeline,
)
from featx.errors import ModelFileError, OptionError, UnreadableImageError, UnreadableImagesWarning
from tests.models.model_samples import extractor, rewrite_model

BYTES_ONLY = ("bytes", "array")


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a file or URL is opened as an image."""

    def refuse(*args: Any) -> None:
        raise AssertionError("a file was opened")

    open_file = builtins.open
    monkeypatch.setattr(
        builtins,
        "open",
        lambda file, *args, **options: refuse() if file == "/etc/passwd" else open_file(file, *args, **options),
    )
    monkeypatch.setattr("featx.images.image.file_state", refuse)
    monkeypatch.setattr("featx.system.files.remote.read_url", refuse)


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize(
    "image",
    ["/etc/passwd", Path("/etc/passwd"), "file:///etc/passwd", "http://169.254.169.254/x.jpg", np.str_("a.png")],
)
def test_client_string_is_one_error_and_costs_nobody_else(model: Path, image: Any, tmp_path: Path) -> None:
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    predictor = Predictor(model, cache=tmp_path / "cache", allow=BYTES_ONLY)
    first, refused, last = predictor.predict_each([gray, image, PIL.Image.fromarray(gray)])
    assert (first.error, last.error) == ("", "")
    assert refused.label is None
    assert refused.error.startswith("expected bytes or array, got a ")
    assert "passwd" not in refused.path
    assert predictor.predict_one(image).error == refused.error


@pytest.mark.usefixtures("no_files")
def test_path_in_a_collection_is_refused(model: Path) -> None:
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    encoded = io.BytesIO()
    PIL.Image.fromarray(gray).save(encoded, "png")
    images = find_images([{"bytes": None, "path": "/etc/passwd"}, {"bytes": encoded.getvalue(), "path": "a.png"}])
    predictor = Predictor(model, cache=None, allow=BYTES_ONLY)
    for predictions in (predictor.predict_each(images), predictor.predict_each(images.paths * 16)[:2]):
        assert [prediction.error for prediction in predictions] == [
            "expected bytes or array, got a path",
            "",
        ]


@pytest.mark.usefixtures("no_files")
def test_extractor_refuses_as_unreadable() -> None:
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    strict = extractor(cache=None, allow=BYTES_ONLY)
    with pytest.raises(UnreadableImageError, match=r"\(index 1\): expected bytes or array, got a path; .*\(allow=\)"):
        strict.fit_transform([gray, "/etc/passwd"])
    with pytest.warns(UnreadableImagesWarning, match="1 of 2 images cannot be read"):
        rows = strict.set_params(on_error="nan").transform([gray, "http://example.invalid/a.jpg"])
    assert np.isnan(rows).all(axis=1).tolist() == [False, True]
    assert pickle.loads(pickle.dumps(strict)).allow == BYTES_ONLY


def test_paths_without_addresses(digits: list[Path]) -> None:
    strict = extractor(cache=None, allow=["path"])
    assert strict.transform(digits[:1]).shape == (1, 512)
    with pytest.raises(UnreadableImageError, match="expected path, got a url"):
        strict.transform(["https://example.invalid/a.jpg"])


def test_saved_model_keeps_what_is_allowed(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    images = [path.read_bytes() for path in digits]
    pipeline = make_pipeline(extractor(cache=None, allow=BYTES_ONLY), LogisticRegression()).fit(images, digit_labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    assert read_model(tmp_path / "model.skops").card.allow == list(BYTES_ONLY)
    assert Predictor(tmp_path / "model.skops", cache=None).predict_one(digits[0]).label is None
    assert predict_images(tmp_path / "model.skops", digits[:1], cache=None)["label"].isna().all()
    loaded = load_pipeline(tmp_path / "model.skops", cache=None)
    assert loaded.predict(images[:1]).tolist() == digit_labels[:1]
    with pytest.raises(UnreadableImageError, match="allow="):
        loaded.predict(digits[:1])
    both = load_pipeline(tmp_path / "model.skops", cache=None, allow=("path", "bytes"))
    assert both.predict(digits[:1]).tolist() == digit_labels[:1]


def test_explanations_read_what_is_allowed(model: Path, digits: list[Path]) -> None:
    refused, read = explain_images(model, [digits[0], digits[0].read_bytes()], allow=BYTES_ONLY, cache=None)
    assert (refused.attribution, refused.error) == (None, "expected bytes or array, got a path")
    assert read.attribution is not None


def test_set_of_kinds(model: Path, digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    images = [path.read_bytes() for path in digits]
    pipeline = make_pipeline(extractor(cache=None, allow={"bytes", "array"}), LogisticRegression())
    save_pipeline(pipeline.fit(images, digit_labels), tmp_path / "model.skops")
    card = read_model(tmp_path / "model.skops").card
    assert card.allow == list(BYTES_ONLY)
    assert "bytes, array" in card.as_text()
    assert load_pipeline(tmp_path / "model.skops", cache=None).steps[0][1].allow == BYTES_ONLY
    assert predict_images(model, digits[:1], allow={"bytes"}, cache=None)["label"].isna().all()


@pytest.mark.parametrize(("kinds", "reason"), [(["file"], "allow must be"), (["path"], "has other allow")])
def test_kinds_in_a_changed_description(kinds: list[str], reason: str, model: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["allow"] = kinds
        members["featx.json"] = json.dumps(description).encode()

    changed = rewrite_model(model, tmp_path / "changed.skops", change)
    with pytest.raises(ModelFileError, match=f"is corrupt or was modified: .*{reason}"):
        load_pipeline(changed)


def test_loaded_pipeline_can_be_restricted(model: Path, digits: list[Path]) -> None:
    with pytest.raises(UnreadableImageError, match="allow="):
        load_pipeline(model, cache=None, allow=BYTES_ONLY).predict(digits[:1])


@pytest.mark.parametrize("allow", ["bytes", (), ("bytes", "file"), 7])
def test_invalid_kinds(allow: Any, model: Path) -> None:
    with pytest.raises((OptionError, TypeError), match="allow"):
        FeatureExtractor(allow=allow).fit([])
    with pytest.raises(OptionError, match=r"allow must be None or a list of 'path', 'url', 'bytes', 'array', got"):
        Predictor(model, allow=allow)
