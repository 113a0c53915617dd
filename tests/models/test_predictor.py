"""The public Predictor: one model, many calls, several threads."""

from __future__ import annotations

import http.server
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, Predictor, Progress, predict_images, read_model, save_pipeline
from featx.errors import InputError, MissingDependencyError, ModelFileError, StoreWarning
from featx.extraction.engines.engine import _started, count_started, stop_engines


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


def test_array_with_values_out_of_range_costs_no_other_image(model: Path) -> None:
    gray = np.full((8, 8, 3), 128, dtype=np.uint8)
    first, wrong, last = Predictor(model, cache=None).predict_each([gray, gray.astype(float), gray])
    assert (first.error, last.error) == ("", "")
    assert (wrong.label, wrong.error.startswith("expected float64 pixels from 0 to 1, got 128")) == (None, True)


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


def test_warm_up_starts_the_network(tmp_path: Path, photos: list[PIL.Image.Image], compiled_cache: Path) -> None:
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


def test_few_images_are_read_from_the_cache_and_not_added(model: Path, digits: list[Path], tmp_path: Path) -> None:
    predictor = Predictor(model, cache=tmp_path / "cache")
    for path in digits[:5]:
        predictor.predict_each([path])
    assert not list((tmp_path / "cache").rglob("*.npy"))
    many = [path.read_bytes() + bytes(copy) for path in digits[:33] for copy in range(2)]  # 66 images of other bytes
    predictor.predict_each(many)
    segments = list((tmp_path / "cache").rglob("*.npy"))
    assert segments
    predictor.predict_each(many[:1])
    assert list((tmp_path / "cache").rglob("*.npy")) == segments


def test_few_images_change_nothing_in_the_cache(model: Path, digits: list[Path], tmp_path: Path) -> None:
    many = [path.read_bytes() + bytes(copy) for path in digits[:33] for copy in range(2)]
    predictor = Predictor(model, cache=tmp_path / "cache")
    predictor.predict_each(many)
    (rows,) = (tmp_path / "cache").rglob("*.npy")
    for path in rows.parent.glob("recipe.json"):
        path.unlink()
    rows.write_bytes(rows.read_bytes()[:-8])  # corrupt
    (rows.parent / "0000.npy").write_bytes(b"")  # a leftover
    before = sorted(map(str, (tmp_path / "cache").rglob("*")))
    with pytest.warns(StoreWarning, match="1 corrupt segment .* They are ignored"):
        predictor.predict_each(many[:2])
    assert sorted(map(str, (tmp_path / "cache").rglob("*"))) == before
    with pytest.warns(StoreWarning, match="1 corrupt segment .* They were renamed"):
        predictor.predict_each(many)


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
        threading.Thread(target=server.serve_forever, daemon=True).start()
        slow = threads.submit(predictor.predict_one, f"http://127.0.0.1:{server.server_port}/a.jpg")
        assert requested.wait(20)
        try:
            assert predictor.predict_one(digits[0]).label is not None
            assert not slow.done()
        finally:
            released.set()
            server.shutdown()
        assert "no file at this URL" in slow.result(20).error
