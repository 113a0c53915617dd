"""The public Predictor: one model, many calls, several threads."""

from __future__ import annotations

import copy
import dataclasses
import gc
import http.server
import io
import json
import pickle
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, Predictor, Progress, load_pipeline, predict_images, read_model, save_pipeline
from featx.errors import EngineError, InputError, MissingDependencyError, ModelFileError
from featx.extraction.engines.engine import _started, count_started, stop_engines
from featx.store.view_store import RowBuffer, write_buffers


def test_table_equals_predict_images(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, top=2, cache=None)
    table = predictor.predict(digits[:5])
    assert list(table) == predictor.format.columns
    pd.testing.assert_frame_equal(table, predict_images(model, digits[:5], top=2, cache=None))
    pd.testing.assert_frame_equal(table, Predictor(read_model(model), top=2, cache=None).predict(digits[:5]))


def test_predictions_without_pandas(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, top=99, cache=None)
    reports: list[Progress] = []
    predictions = predictor.predict_each(digits[:3], progress=reports.append)
    assert [prediction.path for prediction in predictions] == list(map(str, digits[:3]))
    assert [len(prediction.top) for prediction in predictions] == [4, 4, 4]
    assert reports[-1].done == 3


def test_empty_and_unreadable_images(model: Path, tmp_path: Path) -> None:
    predictor = Predictor(model, cache=None)
    assert predictor.predict([]).empty
    table = predictor.predict([tmp_path / "absent.jpg", b""])
    assert table["label"].isna().all()
    assert (table["note"] != "").all()


@pytest.mark.parametrize("n_readable", [0, 1])
def test_missing_labels_are_none_and_missing_numbers_nan(model: Path, digits: list[Path], n_readable: int) -> None:
    table = Predictor(model, top=2, cache=None).predict([b"", *digits[:n_readable]])
    missing = table.iloc[0]
    assert [missing[name] for name in ("label", "label_2")] == [None, None]
    numbers = ["probability", "probability_2", "novelty_score"]
    assert [str(table[name].dtype) for name in numbers] == ["float64"] * 3
    assert missing[numbers].isna().all()


def test_array_with_values_out_of_range_costs_no_other_image(model: Path) -> None:
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    first, wrong, last = Predictor(model, cache=None).predict_each([gray, gray.astype(float), gray])
    assert (first.error, last.error) == ("", "")
    # The range of pixels is part of the model, and no option of the predictor.
    assert (wrong.label, wrong.error) == (None, "expected float64 pixels from 0 to 1, got 128 to 128")


@pytest.mark.parametrize("package", ["scikit-learn", "skops"])
def test_missing_package_of_an_estimator_is_named(model: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"scikit-learn": "sklearn"}.get(package, package), None)
    with pytest.raises(MissingDependencyError, match=f"requires the package {package}, .*pip install {package}"):
        _ = read_model(model).pipeline


def test_missing_pandas_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas, or call predict_each"):
        Predictor(model, cache=None).predict([])


def test_predictor_can_be_pickled(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, cache=None)
    expected = predictor.predict_each(digits[:3])  # it has been used
    copied = pickle.loads(pickle.dumps(predictor))
    assert copied.predict_each(digits[:3]) == expected


def test_one_image(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, cache=None).warm_up()
    data = digits[0].read_bytes()
    assert predictor.predict_one(data) == predictor.predict_each([data])[0]
    assert predictor.predict_one(digits[0]).label == predictor.predict_one(data).label
    unreadable = predictor.predict_one(b"not an image")
    assert (unreadable.label, bool(unreadable.error)) == (None, True)


def test_copies_are_independent(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, cache=None)
    expected = predictor.predict_each(digits[:3])
    for copied in (copy.copy(predictor), copy.deepcopy(predictor)):
        assert copied.predict_each(digits[:3]) == expected
        assert copied._n_computed == 6
        assert copied._predict_read is not predictor._predict_read
    assert predictor._n_computed == 3


def test_probabilities(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, cache=None)
    prediction = predictor.predict_one(digits[0])
    assert prediction.probabilities is not None
    assert list(prediction.probabilities) == predictor.model.card.classes
    assert prediction.top == [max(prediction.probabilities.items(), key=lambda item: item[1])]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert predictor.predict_one(b"").probabilities is None
    assert pickle.loads(pickle.dumps(prediction)).probabilities == prediction.probabilities
    assert json.loads(json.dumps(dataclasses.asdict(prediction)))["label"] == prediction.label


def test_slow_image_does_not_delay_other_threads(model: Path, digits: list[Path]) -> None:
    is_read, is_released = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, *arguments: Any) -> bytes:
            is_read.set()
            is_released.wait(20)
            return super().read(*arguments)

    predictor = Predictor(model, cache=None).warm_up()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(predictor.predict_one, Slow(digits[1].read_bytes()))
        assert is_read.wait(20)
        for image in (digits[0], io.BytesIO(digits[0].read_bytes())):
            assert predictor.predict_one(image).label is not None
        assert not slow.done()
        is_released.set()
        assert slow.result(20).probabilities == predictor.predict_one(digits[1]).probabilities


def test_equal_images_of_one_small_call(model: Path, digits: list[Path], tmp_path: Path) -> None:
    (tmp_path / "copy.png").write_bytes(digits[0].read_bytes())
    broken = [tmp_path / "broken-1.png", tmp_path / "broken-2.png"]
    for path in broken:
        path.write_bytes(b"broken")
    first, same, *unreadable = Predictor(model, cache=None).predict_each([digits[0], tmp_path / "copy.png", *broken])
    assert (first.probabilities, Path(same.path).name) == (same.probabilities, "copy.png")
    assert [Path(prediction.path) for prediction in unreadable] == broken
    assert all(prediction.error for prediction in unreadable)


def test_warm_up_starts_the_network(
    tmp_path: Path, photos: list[PIL.Image.Image], compiled_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline(FeatureExtractor(cache=compiled_cache), LogisticRegression())
    save_pipeline(pipeline.fit(photos[:6], list("aabbcc")), tmp_path / "model.skops")
    stop_engines()
    predictor = Predictor(tmp_path / "model.skops", cache=compiled_cache)
    assert count_started() == 0
    assert predictor.warm_up() is predictor
    assert count_started() == 1
    _started.engines.clear()  # as after two other models
    assert predictor._resolved.start(compiled_cache / "compiled") is predictor._engine
    assert pickle.loads(pickle.dumps(predictor))._engine is None
    monkeypatch.setattr(_started, "is_forked", True)
    with pytest.raises(EngineError, match="was forked"):
        predictor.warm_up()


def test_network_of_a_prediction_stays_started(model: Path, digits: list[Path]) -> None:
    """Three models of one service must not restart their networks for each request."""
    predictor = Predictor(model, cache=None)
    assert predictor._engine is None
    predictor.predict_one(digits[0])
    assert predictor._engine is not None
    loaded = load_pipeline(model, cache=None)
    loaded.predict(digits[:1])
    assert loaded[0]._engine is not None
    assert "_engine" not in vars(pickle.loads(pickle.dumps(loaded))[0])


@pytest.mark.parametrize("cache", [None, "cache"])
def test_threads_share_a_predictor(model: Path, digits: list[Path], tmp_path: Path, cache: str | None) -> None:
    predictor = Predictor(model, cache=cache and tmp_path / cache)
    expected = predict_images(model, digits, cache=None)
    parts = np.array_split(np.arange(len(digits)), 12)
    with ThreadPoolExecutor(6) as threads:
        tables = list(threads.map(lambda part: predictor.predict([digits[index] for index in part]), parts))
    table = pd.concat(tables, ignore_index=True)
    assert table["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(table["probability"], expected["probability"], atol=1e-6)


def test_invalid_arguments(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Predictor(model, cache=None).predict("photo.jpg")
    with pytest.raises(ModelFileError, match="Cannot read model"):
        Predictor(tmp_path / "absent.skops")


def copies(digits: list[Path], n_images: int) -> list[bytes]:
    """Return images with different bytes."""
    return [digits[number % len(digits)].read_bytes() + number.to_bytes(4) for number in range(n_images)]


def test_cache_is_read_and_nothing_is_added(model: Path, digits: list[Path], tmp_path: Path) -> None:
    cache, many = tmp_path / "cache", copies(digits, 66)
    Predictor(model, cache=cache).predict_each(many)
    predict_images(model, many, cache=cache)
    load_pipeline(model, cache=cache).predict(many)
    assert not cache.exists()


@pytest.mark.parametrize("how", [Predictor, load_pipeline])
def test_features_are_added_on_request(how: Any, model: Path, digits: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    writer = how(model, cache=cache, write_cache=True)
    getattr(writer, "predict_each", writer.predict)(digits[:3])
    write_buffers()
    (rows,) = cache.rglob("*.npy")
    reader = Predictor(model, cache=cache)
    reader.predict_each(digits[:4])
    assert list(cache.rglob("*.npy")) == [rows]
    assert reader._n_computed == 1


@pytest.mark.parametrize("how", [Predictor, load_pipeline])
def test_small_calls_are_written_together(how: Any, model: Path, digits: list[Path], tmp_path: Path) -> None:
    writer = how(model, cache=tmp_path / "cache", write_cache=True)
    predict = getattr(writer, "predict_each", writer.predict)
    many = copies(digits, 20)
    expected = [predict([image])[0] for image in many]
    assert not list(tmp_path.rglob("*.npy"))
    reader = Predictor(model, cache=tmp_path / "cache")
    reader.predict_each(many)
    assert reader._n_computed == 0  # this process finds the rows before they are written
    write_buffers()
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    assert [predict([image])[0] for image in many] == expected
    write_buffers()
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_predictor_that_is_dropped_frees_its_memory(model: Path, digits: list[Path]) -> None:
    predictor = Predictor(model, cache=None).warm_up()
    predictor.predict_one(digits[0])
    dropped = weakref.ref(predictor)
    gc.disable()
    try:
        del predictor
        assert dropped() is None
    finally:
        gc.enable()


def test_small_calls_are_written_after_some_seconds(
    model: Path, digits: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowBuffer, "max_seconds", 0.02)
    Predictor(model, cache=tmp_path / "cache", write_cache=True).predict_one(digits[0])
    for _ in range(500):
        if list(tmp_path.rglob("*.npy")):
            break
        time.sleep(0.01)
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_small_calls_are_written_when_the_process_ends(
    model: Path, digits: list[Path], tmp_path: Path, python: Callable[..., Any]
) -> None:
    code = """
import sys
from featx import Predictor
for image in sys.argv[3:]:
    Predictor(sys.argv[1], cache=sys.argv[2], write_cache=True).predict_one(image)
"""
    python(code, str(model), str(tmp_path / "cache"), *map(str, digits[:3]))
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_pipeline_that_is_fitted_again_adds_features(
    model: Path, digits: list[Path], digit_labels: list[str], tmp_path: Path
) -> None:
    loaded = load_pipeline(model, cache=tmp_path / "cache")
    loaded.fit(digits, digit_labels)
    assert list((tmp_path / "cache").rglob("*.npy"))


def test_note_on_many_features_that_are_not_kept(
    model: Path, digits: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.models.predictor.MANY_COMPUTED", 10)
    predictor, writer = (Predictor(model, cache=tmp_path, write_cache=is_written) for is_written in (False, True))
    for each in (predictor, writer):
        each.predict_each(copies(digits, 10))
    assert "features of 10 images were computed and not added to the cache" in predictor.cache_note()
    assert "--write-cache" in predictor.cache_note()
    assert writer.cache_note() == ""


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return time of modification and content of all files and folders."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


@pytest.mark.parametrize("index", [b"", b"not a database" * 999, None])
def test_reading_changes_nothing_in_a_damaged_cache(
    index: bytes | None, model: Path, digits: list[Path], tmp_path: Path
) -> None:
    Predictor(model, cache=tmp_path, write_cache=True).predict_each(digits)
    (rows,) = tmp_path.rglob("*.npy")
    (rows.parent / "recipe.json").unlink()
    rows.write_bytes(rows.read_bytes()[:-8])  # corrupt
    (rows.parent / "0000.npy").write_bytes(b"")  # a leftover
    (tmp_path / ".featx-leftover.tmp").write_bytes(b"")
    if index is not None:
        (tmp_path / "digests.sqlite").write_bytes(index)
    before = state_of(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictions = Predictor(model, cache=tmp_path).predict_each(digits)
    assert state_of(tmp_path) == before
    assert all(prediction.label for prediction in predictions)
    texts = " ".join(str(warning.message) for warning in caught)
    assert "1 corrupt segment" in texts
    assert "They are ignored" in texts
    assert ("Cannot use the file index" in texts) is bool(index)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Predictor(model, cache=tmp_path, write_cache=True).predict_each(digits)
    assert any("They were renamed" in str(warning.message) for warning in caught)


def test_slow_download_does_not_hold_up_other_threads(model: Path, digits: list[Path]) -> None:
    requested, released = threading.Event(), threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.set()
            released.wait(20)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    predictor = Predictor(model, cache=None).warm_up()
    with server, ThreadPoolExecutor(1) as threads:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        slow = threads.submit(predictor.predict_one, f"http://127.0.0.1:{server.server_port}/a.jpg")
        assert requested.wait(20)
        try:
            assert predictor.predict_one(digits[0]).label is not None
            assert not slow.done()
        finally:
            released.set()
            server.shutdown()
        assert "no file at this URL" in slow.result(20).error
