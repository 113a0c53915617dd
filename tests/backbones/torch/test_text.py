"""Rows of texts equal those of open_clip: its own tokenizer and text tower. Weights are random, see test_equality."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, ZeroShotClassifier, similar_images
from featx.errors import EngineError, OptionError
from featx.extraction.options import ExtractionOptions
from featx.extraction.text.text_rows import extract_texts
from featx.extraction.to_file import extract_images
from tests.backbones.torch import reference_rows

pytest.importorskip("open_clip")
pytest.importorskip("tokenizers")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
MODEL = "ViT-S-32"
TEXTS = ["a red car", "a photo of a dog on the beach.", "", "na\u00efve \u732b \U0001f600", "many words " * 60]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip

    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    reference_rows.save_random_weights(open_clip.create_model(MODEL), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches") / "cache"


def test_rows_equal_those_of_open_clip_and_are_independent(weights: Path, cache: Path, tmp_path: Path) -> None:
    import open_clip
    import torch

    resolved = ExtractionOptions(f"open_clip/{MODEL}", weights=weights).resolve()
    texts = [text for text in TEXTS if text]
    rows = extract_texts(texts, resolved, cache=cache)
    network = open_clip.create_model(MODEL, pretrained=str(weights)).eval()
    with torch.inference_mode():
        expected = network.encode_text(open_clip.get_tokenizer(MODEL)(texts)).numpy()
    assert np.abs(rows - expected).max() <= 1e-3 * np.abs(expected).max()
    assert np.linalg.norm(expected[0] - expected[1]) > 1e-2 * np.linalg.norm(expected[0])
    shutil.copytree(cache / "compiled", tmp_path / "compiled")
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_array_equal(extract_texts([text], resolved, cache=tmp_path)[0], row)


@pytest.mark.thorough
def test_texts_find_images_and_classify_them(
    weights: Path, cache: Path, photos: list[PIL.Image.Image], tmp_path: Path, python: Any
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(0, 24, 6):
        photos[number].resize((80, 70)).save(tmp_path / "photos" / f"{number}.png")
    features = tmp_path / "features.npy"
    extractor = FeatureExtractor(f"open_clip/{MODEL}", weights=weights, precision="float32", cache=cache)
    options = {"backbone": f"open_clip/{MODEL}", "weights": weights, "precision": "float32"}
    extract_images(tmp_path / "photos", features, **options, cache=cache)
    (result,) = similar_images(features, text="a red car", top=4, backbone=extractor, cache=cache)
    X = np.load(features)
    text = extract_texts(["a red car"], ExtractionOptions(f"open_clip/{MODEL}", weights=weights).resolve(), cache=cache)
    cosine = (X @ text[0]) / np.linalg.norm(X, axis=1) / np.linalg.norm(text[0])
    np.testing.assert_allclose([match.cosine for match in result.matches], np.sort(cosine)[::-1], atol=1e-5)
    classifier = ZeroShotClassifier(extractor, cache=cache).fit(X, ["cat", "dog"] * 2)
    assert classifier.predict_proba(X).shape == (4, 2)
    script = (
        "import json, sys, featx\n"
        f"extractor = featx.FeatureExtractor('open_clip/{MODEL}', weights={str(weights)!r}, precision='float32')\n"
        f"options = dict(backbone=extractor, top=1, cache={str(cache)!r})\n"
        f"found = featx.similar_images({str(features)!r}, text=['a red car', 'a boat'], **options)\n"
        "print(json.dumps([len(found), [name for name in ('torch', 'open_clip') if name in sys.modules]]))"
    )
    done = python(script)
    assert json.loads(done.stdout) == [2, []], done.stderr


def test_features_of_another_pooling_are_refused(weights: Path, cache: Path) -> None:
    classifier = ZeroShotClassifier(FeatureExtractor(f"open_clip/{MODEL}", weights=weights, pooling="cls"), cache=cache)
    with pytest.raises(OptionError, match=r"layer 'features' and pooling 'native', got 'features' and 'cls'. Omit la"):
        classifier.fit(np.ones((2, 384), dtype=np.float32), ["cat", "dog"])


@pytest.mark.parametrize("cleaning", ["lower", "whitespace", "canonicalize"])
def test_tokens_equal_those_of_open_clip(cleaning: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    from featx.backbones.torch.text.open_clip_text import convert_tokenizer

    original = SimpleTokenizer(clean=cleaning, context_length=32)
    np.testing.assert_array_equal(convert_tokenizer(original, "x").tokenize(TEXTS), original(TEXTS).numpy())


def test_tokenizer_that_cannot_be_converted_is_refused() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    from featx.backbones.torch.text.open_clip_text import convert_tokenizer

    with pytest.raises(EngineError, match=r"Cannot convert the tokenizer of 'open_clip/x': the library token"):
        convert_tokenizer(SimpleTokenizer(reduction_mask="simple"), "open_clip/x")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("hidden", "message"), [("transformers", "requires the package transformers"), ("", "offline|connect")]
)
def test_tokenizer_of_the_hub_that_cannot_be_read(hidden: str, message: str, python: Any, tmp_path: Path) -> None:
    if not hidden:
        pytest.importorskip("transformers")
    script = f"""
import sys
sys.modules.update({{name: None for name in {hidden!r}.split()}})
from featx.backbones.torch.names import TorchName
from featx.backbones.torch.text.open_clip_text import _read_tokenizer
from featx.errors import FeatxError
try:
    _read_tokenizer(TorchName("open_clip", "ViT-B-16-SigLIP"))
except FeatxError as error:
    print(error)
"""
    done = python(script, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    assert re.search(f"open_clip/ViT-B-16-SigLIP.*({message})", done.stdout), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("strip", [False, True])
def test_tokenizer_of_hugging_face(strip: bool, tmp_path: Path) -> None:
    """A tokenizer of the transformers library, trained here because none can be downloaded."""
    transformers = pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import BertWordPieceTokenizer

    from featx.backbones.torch.text.open_clip_text import convert_tokenizer

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(TEXTS * 50, vocab_size=200, show_progress=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "sep", "cls", "unk", "mask")}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), **special)
    fast.save_pretrained(tmp_path / "saved")
    original = HFTokenizer(str(tmp_path / "saved"), context_length=20, strip_sep_token=strip)
    converted = convert_tokenizer(original, "x")
    np.testing.assert_array_equal(converted.tokenize(TEXTS), original(TEXTS).numpy())
    assert (converted.zeroed_token is not None) == strip
