"""Rows of texts by a backbone in plain Python; those of networks are tested where torch is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import cache_info, clear_cache, load_backbone, verify_cache
from featx.errors import EngineError, OptionError
from featx.extraction.options import ExtractionOptions
from featx.extraction.text.text_rows import check_text_support, extract_texts
from tests.color_words import ColorWords
from tests.conftest import Register


@pytest.fixture
def words(register: Register) -> ColorWords:
    return register(ColorWords())


def test_rows_are_cached_under_their_own_recipe(words: ColorWords, tmp_path: Path) -> None:
    resolved = ExtractionOptions("color_words").resolve()
    first = extract_texts(["a red car", "blue", "a red car"], resolved, cache=tmp_path)
    np.testing.assert_array_equal(first[0], first[2])
    again = extract_texts(["blue", "lime", "a red car"], resolved, cache=tmp_path)
    np.testing.assert_array_equal(again[[2, 0]], first[:2])
    assert words.computed == ["a red car", "blue", "lime"]
    (info,) = cache_info(tmp_path).recipes
    assert info.recipe == {"backbone": "color_words", "weights": "version 1", "text": 1, "precision": "float32"}
    assert info.rows == 3
    assert "color_words, texts, float32" in str(cache_info(tmp_path))
    assert verify_cache(tmp_path).n_corrupt == 0
    clear_cache(tmp_path, backbone="color_words")
    assert not cache_info(tmp_path).recipes


def test_without_a_cache_all_texts_are_computed(words: ColorWords) -> None:
    resolved = ExtractionOptions("color_words").resolve()
    for _ in range(2):
        extract_texts(["red"], resolved, cache=None)
    assert words.computed == ["red", "red"]


@pytest.mark.parametrize("text", ["", "  ", None, 3])
def test_a_text_must_not_be_empty(text: Any, words: ColorWords) -> None:
    with pytest.raises(OptionError, match="A text must be a non-empty str, got"):
        extract_texts([text], ExtractionOptions("color_words").resolve(), cache=None)


def test_a_text_must_be_unicode(words: ColorWords) -> None:
    with pytest.raises(OptionError, match="A text must be valid Unicode, got"):
        extract_texts(["a caf\udce9"], ExtractionOptions("color_words").resolve(), cache=None)


def test_backbones_without_words_are_refused() -> None:
    assert not load_backbone("mobilenet").has_text
    with pytest.raises(OptionError, match=r"needs a backbone with a text tower, got 'color_histogram'\. Use one of"):
        check_text_support(ExtractionOptions("color_histogram").resolve(), "A text query")


def test_rows_of_texts_must_have_the_features_of_images(register: Register) -> None:
    class Wrong(ColorWords):
        name = "wrong_words"

        def extract_texts(self, texts: Any) -> Any:
            return np.zeros((len(texts), 2))

    register(Wrong())
    with pytest.raises(EngineError, match=r"must return an array of shape \(1, 3\), got \(1, 2\)"):
        extract_texts(["red"], ExtractionOptions("wrong_words").resolve(), cache=None)
