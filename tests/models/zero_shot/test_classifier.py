from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_get_params_invariance

from featx import FeatureExtractor, ZeroShotClassifier, read_model, save_pipeline
from featx.errors import OptionError, SourceError
from featx.models.zero_shot.prompts import read_prompts, texts_by_class
from tests.color_words import ColorWords, save_colors
from tests.conftest import Register

pytestmark = pytest.mark.usefixtures("words")
CLASSES = ["blue", "lime", "red"]


@pytest.fixture
def words(register: Register) -> ColorWords:
    return register(ColorWords())


@pytest.fixture
def data(tmp_path: Path) -> tuple[Any, list[str]]:
    paths = sorted(map(str, save_colors(tmp_path / "colors").glob("*/*.png")))
    return FeatureExtractor("color_words", cache=None).fit_transform(paths), [Path(path).parent.name for path in paths]


def test_classes_follow_from_texts_alone(data: tuple[Any, list[str]]) -> None:
    X, y = data
    shuffled = np.random.default_rng(0).permutation(y)
    classifier = ZeroShotClassifier("color_words", cache=None).fit(X, shuffled)
    assert classifier.score(X, y) == 1
    assert classifier.classes_.tolist() == CLASSES
    assert classifier.prompts_ == [["a photo of a blue."], ["a photo of a lime."], ["a photo of a red."]]
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)


def test_rows_of_several_texts_are_averaged_after_normalization(data: tuple[Any, list[str]]) -> None:
    prompts = {"blue": ["blue", "navy"], "lime": "lime", "red": "red"}
    classifier = ZeroShotClassifier("color_words", prompts, cache=None).fit(*data)
    rows = ColorWords().extract_texts(["blue", "navy"])
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(classifier.class_rows_[0], mean / np.linalg.norm(mean), rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_pipeline_is_equal_and_saved(n_classes: int, data: tuple[Any, list[str]], tmp_path: Path) -> None:
    X, y = data[0], np.array(data[1])
    selected = np.isin(y, CLASSES[:n_classes])
    classifier = ZeroShotClassifier("color_words", scale=3, cache=None).fit(X[selected], y[selected])
    linear = classifier.as_pipeline()
    np.testing.assert_allclose(linear.predict_proba(X), classifier.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(linear.predict(X), classifier.predict(X))
    assert classifier.decision_function(X).shape == linear.decision_function(X).shape
    extractor = FeatureExtractor("color_words", cache=None).fit([])
    save_pipeline(make_pipeline(extractor, linear), tmp_path / "model.skops")
    assert read_model(tmp_path / "model.skops").card.classes == CLASSES[:n_classes]


def test_it_is_an_estimator_of_scikit_learn(data: tuple[Any, list[str]]) -> None:
    classifier = ZeroShotClassifier(FeatureExtractor("color_words"), "{}", cache=None)
    check_get_params_invariance("ZeroShotClassifier", classifier)
    assert clone(classifier).get_params()["backbone__backbone"] == "color_words"
    fitted = classifier.fit(*data)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(data[0]), fitted.predict(data[0]))
    with pytest.raises(ValueError, match="X has 2 features, but ZeroShotClassifier is expecting 3"):
        fitted.predict(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("backbone", "prompts", "message"),
    [
        ("color_histogram", None, "ZeroShotClassifier needs a backbone with a text tower, got 'color_histogram'"),
        ("color_words", "a photo", r"must contain '\{\}' for the name of the class, got 'a photo'"),
        ("color_words", {"red": "red"}, "must have a text for each class, got none for 'blue'"),
        ("color_words", [], "has no template"),
        ("color_words", [""], "must be templates, or a dict of texts"),
        ("color_words", Path("none.txt"), r"Cannot read prompts \(--prompts\) from 'none.txt': No such file"),
    ],
)
def test_bad_options_are_one_line(backbone: str, prompts: Any, message: str, data: tuple[Any, list[str]]) -> None:
    with pytest.raises((OptionError, SourceError), match=message):
        ZeroShotClassifier(backbone, prompts, cache=None).fit(*data)


def test_rows_of_other_features_are_refused() -> None:
    with pytest.raises(OptionError, match="X must have the 3 features of a text, got 4"):
        ZeroShotClassifier("color_words", cache=None).fit(np.ones((2, 4)), ["red", "blue"])


def test_files_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "templates.txt").write_text("a photo of a {}.\n\n  a drawing of {}  \n", encoding="utf-8")
    assert read_prompts(tmp_path / "templates.txt") == ["a photo of a {}.", "a drawing of {}"]
    (tmp_path / "texts.csv").write_text('label,prompt\n0,"a cat, asleep"\n0,a kitten\n1,a dog\n', encoding="utf-8")
    assert texts_by_class([0, 1], tmp_path / "texts.csv") == [["a cat, asleep", "a kitten"], ["a dog"]]
    (tmp_path / "wrong.csv").write_text("class,text\n0,a cat\n", encoding="utf-8")
    with pytest.raises(OptionError, match="must have the columns label and prompt, got class, text"):
        read_prompts(tmp_path / "wrong.csv")


def test_names_that_are_not_utf8_are_repaired() -> None:
    assert texts_by_class(["caf\udce9"], ["{}!"]) == [["café!"]]


def test_a_single_class_is_refused(data: tuple[Any, list[str]]) -> None:
    X, _ = data
    with pytest.raises(OptionError, match="y must have at least two classes, got one class, 'red'"):
        ZeroShotClassifier("color_words", cache=None).fit(X[:1], ["red"])


def test_underscores_in_names_become_spaces() -> None:
    assert texts_by_class(["red_panda"], ["{}!", "two {}s"]) == [["red panda!", "two red pandas"]]
