"""Test-time augmentation: values, what is computed and cached, errors, and where the option is accepted."""

from __future__ import annotations

import dataclasses
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, compare_images, rank_images
from featx.cli import main as cli
from featx.errors import EngineError, OptionError, StoreWarning, UnreadableImageError, UnreadableImagesWarning
from featx.extraction.cache_results import describe_recipe
from featx.extraction.extract import extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import ExtractionOptions
from featx.images.tta import VIEWS, ViewSet
from featx.store.store import Store
from featx.testing import CountingBackbone
from featx.workflows.duplicate_groups import duplicate_detector
from tests.extraction.helpers import extract

Array = np.ndarray[Any, Any]


@pytest.fixture
def squares() -> Array:
    """Eight images of noise, 32 × 32: as the counting backbone is shown them."""
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def rows(images: Any, **options: Any) -> Array:
    return FeatureExtractor("counting", **options).transform(images)


def run(images: Any, cache: Path | None, **options: Any) -> tuple[Array, Ledger]:
    return extract(images, cache, on_error="nan", **options)


# What a row is ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("cache", [None, "auto"])
def test_flip(squares: Array, cache: Any) -> None:
    expected = (rows(squares) + rows(squares[:, :, ::-1])) / 2
    np.testing.assert_array_equal(rows(squares, tta="flip", cache=cache), expected)


@pytest.mark.usefixtures("counting")
def test_rotations(squares: Array) -> None:
    expected = np.mean([rows(np.rot90(squares, turns, axes=(1, 2))) for turns in range(4)], axis=0)
    np.testing.assert_allclose(rows(squares, tta="rotations"), expected, rtol=1e-6)


@pytest.mark.usefixtures("counting")
def test_five_crop() -> None:
    larger = np.random.default_rng(0).integers(0, 256, (3, 37, 37, 3), dtype=np.uint8)
    corners = [(0, 0), (0, 5), (5, 0), (5, 5), (2, 2)]
    expected = np.mean([rows(larger[:, y : y + 32, x : x + 32]) for y, x in corners], axis=0)
    np.testing.assert_allclose(rows(larger, tta="five-crop"), expected, rtol=1e-6)


def test_decoded_size() -> None:
    recipe = ExtractionOptions("mobilenet", tta="five-crop").resolve().recipe
    assert ViewSet.of(recipe).decoded_size == (256, 256)
    assert ViewSet.of(dataclasses.replace(recipe, tta="rotations")).decoded_size == (224, 224)


@pytest.mark.parametrize("tta", VIEWS)
def test_histogram_ignores_flips_and_rotations(tta: str, squares: Array) -> None:
    plain, averaged = (FeatureExtractor("color_histogram", tta=name).transform(squares) for name in (None, tta))
    assert averaged.shape == plain.shape
    assert np.array_equal(plain, averaged) is (tta != "five-crop")


def test_feature_names() -> None:
    names = FeatureExtractor("mobilenet").get_feature_names_out()
    assert list(FeatureExtractor("mobilenet", tta="flip").get_feature_names_out()) == list(names)


# What is computed ------------------------------------------------------------------------------------


def test_views_are_computed_once(counting: CountingBackbone, paths: list[str]) -> None:
    shown = {}
    for number, views in enumerate([None, "flip", "flip", "rotations", None, "five-crop", "rotations", "five-crop"]):
        before = counting.n_images
        rows(paths, tta=views)
        shown[number, views] = (counting.n_images - before) // 24
    assert list(shown.values()) == [1, 1, 0, 3, 0, 5, 0, 0]


def test_unchanged_view_is_the_row_without_tta(counting: CountingBackbone, paths: list[str]) -> None:
    averaged = rows(paths, tta="flip")
    assert counting.n_images == 48
    plain = rows(paths)
    assert counting.n_images == 48
    np.testing.assert_array_equal(plain, rows(paths, cache=None))
    np.testing.assert_array_equal(averaged, rows(paths, tta="flip", cache=None))


def test_each_view_has_a_recipe(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    rows(paths, tta="flip", cache=tmp_path / "cache")
    plain = ExtractionOptions("counting").resolve().recipe
    kept = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("recipe.json")}
    assert set(kept) == {plain.fingerprint, dataclasses.replace(plain, tta="mirrored").fingerprint}
    assert "tta" not in kept[plain.fingerprint]["recipe"]


@pytest.mark.parametrize("tta", VIEWS)
def test_image_is_decoded_once(
    tta: str, counting: CountingBackbone, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.images.decode import decode_image

    decode, decoded = decode_image, []
    monkeypatch.setattr("featx.extraction.prefetch.decode_image", lambda *args: (decoded.append(1), decode(*args))[1])
    rows(paths, tta=tta)
    assert len(decoded) == 24
    assert counting.n_images == 24 * len(VIEWS[tta])


def test_counts_and_progress_are_of_images(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    done: list[int] = []
    resolved = ExtractionOptions("counting", tta="rotations", batch_size=8).resolve()
    out = np.empty((26, 12), dtype=np.float32)
    images = [*paths, *paths[:2]]
    first = extract_into(out, images, resolved, cache=tmp_path, progress=done.append)
    assert (first.n_computed, first.n_cached, sum(done)) == (24, 2, 26)
    np.testing.assert_array_equal(out[24:], out[:2])
    assert counting.n_images == 96
    _, second = run(images, tmp_path, tta="flip")
    assert (second.n_computed, second.n_cached) == (24, 2)
    _, third = run(images, tmp_path, tta="flip")
    assert (third.n_computed, third.n_cached) == (0, 26)


def test_rows_do_not_depend_on_the_batch(counting: CountingBackbone, paths: list[str]) -> None:
    expected = rows(paths, tta="five-crop", cache=None)
    for size in (1, 7, 1000):
        np.testing.assert_array_equal(rows(paths, tta="five-crop", cache=None, batch_size=size), expected)


def test_computed_views_are_cached_before_an_error(
    counting: CountingBackbone, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = counting.extract

    def broken(pixels: Array) -> Array:
        if counting.n_images >= 24:
            raise KeyboardInterrupt
        return extract(pixels)

    rows(paths[:10])
    with monkeypatch.context() as patch:
        patch.setattr(counting, "extract", broken)
        with pytest.raises(KeyboardInterrupt):
            rows(paths, tta="flip", batch_size=4)
    np.testing.assert_array_equal(rows(paths, tta="flip"), rows(paths, tta="flip", cache=None))
    assert counting.n_images == 48 + 48


def test_corrupt_row_affects_its_own_view_only(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = rows(paths, tta="flip", cache=cache)
    recipe = dataclasses.replace(ExtractionOptions("counting").resolve().recipe, tta="mirrored")
    segment = next((cache / "features" / recipe.fingerprint).glob("*.npy"))
    damaged = bytearray(segment.read_bytes())
    damaged[-3] ^= 255
    segment.write_bytes(damaged)
    with pytest.warns(StoreWarning, match="corrupt"):
        np.testing.assert_array_equal(rows(paths, tta="flip", cache=cache), expected)
    assert counting.n_images == 48 + 24


def test_views_of_another_process_are_used(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh, has_run = Store.refresh, []

    def refreshed(store: Store) -> None:
        if not has_run and counting.n_images == 0 and started:
            has_run.append(True)
            rows(paths[:5], cache=tmp_path)
        refresh(store)

    started: list[bool] = []
    monkeypatch.setattr(Store, "refresh", refreshed)
    monkeypatch.setattr("featx.system.locks.FairLock.acquire", lambda turns: started.append(True))
    averaged = rows(paths, tta="flip", cache=tmp_path)
    np.testing.assert_array_equal(averaged, rows(paths, tta="flip", cache=None))
    assert has_run
    assert counting.n_images == 5 + 24 + 19 + 48


def test_invalid_rows_of_a_view_are_rejected(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "extract", lambda pixels: np.full((len(pixels), 12), np.nan))
    with pytest.raises(EngineError, match="NaN"):
        rows(paths, tta="flip", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


# What goes wrong -------------------------------------------------------------------------------------


def test_unreadable_image(counting: CountingBackbone, paths: list[str]) -> None:
    images = [paths[0], b"bad", *paths[1:3], b"bad"]
    averaged, ledger = run(images, None, tta="rotations")
    assert [failure.position for failure in ledger.failures] == [1, 4]
    np.testing.assert_array_equal(np.isnan(averaged).all(axis=1), [False, True, False, False, True])
    assert counting.n_images == 12
    with pytest.raises(UnreadableImageError, match="index 1"):
        rows(images, tta="rotations")
    with pytest.warns(UnreadableImagesWarning, match="2 of 5 images") as warned:
        rows(images, tta="rotations", on_error="nan")
    assert len(warned) == 1


def test_padded_image(
    counting: CountingBackbone, photo: PIL.Image.Image, encoded: Callable[..., bytes], tmp_path: Path
) -> None:
    cut = encoded(photo)[:20_000]
    averaged, ledger = run([cut, photo], tmp_path, tta="flip", on_truncated="pad")
    assert (ledger.padded, counting.n_images) == ([0], 4)
    again, ledger = run([photo, cut], tmp_path, tta="flip", on_truncated="pad")
    assert (ledger.padded, counting.n_images) == ([1], 4)
    np.testing.assert_array_equal(again, averaged[::-1])
    assert len(run([cut], tmp_path, tta="flip")[1].failures) == 1


def test_unknown_name() -> None:
    with pytest.raises(
        OptionError, match=r"tta \(--tta\) must be None or one of 'flip', .*got 'flpi'. Did you mean 'flip'\?"
    ):
        ExtractionOptions("mobilenet", tta="flpi")
    with pytest.raises(OptionError, match="Did you mean 'five-crop'?"):
        FeatureExtractor(tta="five_crop").fit(["a.jpg"])
    for wrong in ("", 3, ["flip"], "mirrored", "augment-1-0-1"):
        with pytest.raises(OptionError, match="tta"):
            ExtractionOptions("mobilenet", tta=wrong)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="tta"):
            FeatureExtractor(tta=wrong).fit(["a.jpg"])  # type: ignore[arg-type]


@pytest.mark.usefixtures("counting")
def test_image_size_that_is_not_square(squares: Array) -> None:
    for views in ("flip", "five-crop"):
        assert rows(squares, tta=views, image_size=(20, 33)).shape == (8, 12)
    with pytest.raises(OptionError, match=r'requires a square image_size, got \(20, 33\).*tta="flip"'):
        rows(squares, tta="rotations", image_size=(20, 33))


# Where options are taken -----------------------------------------------------------------------------


@pytest.mark.usefixtures("counting")
def test_fitted_recipe_contains_tta(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting", tta="flip").fit(paths)
    assert extractor.recipe_["tta"] == "flip"
    loaded = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(loaded.transform(paths), rows(paths, tta="flip"))
    np.testing.assert_array_equal(loaded.set_params(tta=None).transform(paths), rows(paths))


@pytest.mark.usefixtures("counting")
def test_recipe_of_a_version_without_tta(paths: list[str]) -> None:
    extractor = FeatureExtractor("counting").fit(paths)
    assert "tta" not in extractor.recipe_
    del extractor.fitted_params_["tta"]
    extractor.transform(paths)


@pytest.mark.usefixtures("counting")
def test_comparisons_and_rankings_name_tta(paths: list[str], labels: list[str]) -> None:
    networks = [FeatureExtractor("counting", tta=views) for views in (None, "flip", "five-crop")]
    comparison = compare_images(paths, labels, backbones=networks, estimators=["knn"], cv=3, diagnostics=False)
    assert [network.name for network in comparison.backbones] == ["counting", "counting flip", "counting five-crop"]
    assert comparison.table["tta"].tolist() == ["none", "flip", "five-crop"]
    assert comparison.as_dict()["best"]["tta"] == comparison.table["tta"][comparison.best_row.name]
    without = compare_images(paths, labels, backbones=networks[:1], estimators=["knn"], cv=3, diagnostics=False)
    assert "tta" not in without.table
    ranking = rank_images(paths, labels, backbones=networks)
    assert set(ranking.table["name"]) == {"counting", "counting flip", "counting five-crop"}


def test_duplicates_are_detected_without_tta() -> None:
    assert duplicate_detector([ExtractionOptions("mobilenet", tta="flip")]).tta is None


def test_command_line(
    counting: CountingBackbone, photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["extract", str(photo_folder), "--backbone", "counting", "--json", "--quiet"]
    assert cli.main([*command, "--tta", "none"]) == 0
    assert cli.main([*command, "--tta", "flip"]) == 0
    plain, flip = map(json.loads, capsys.readouterr().out.splitlines())
    assert (plain["computed"], flip["computed"], counting.n_images) == (24, 24, 48)
    assert plain["fingerprint"] != flip["fingerprint"]
    expected = (photo_folder / "china" / "00.jpg", "flip")
    np.testing.assert_array_equal(np.load("features.npy")[0], rows([expected[0]], tta=expected[1])[0])
    for name in ("compare", "rank"):
        views = ["--tta", "none", "--tta", "flip"]
        assert cli.main([name, str(photo_folder), "--backbone", "counting", "--quiet", *views]) == 0
        assert "counting flip" in capsys.readouterr().out
    assert counting.n_images == 48
    assert cli.main([*command, "--tta", "flap"]) == 2
    assert "Did you mean 'flip'?" in capsys.readouterr().err


def test_cache_info_names_views(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    from featx.store.info import describe_cache

    rows(paths, tta="flip", cache=tmp_path / "cache")
    recipes = [describe_recipe(info) for info in describe_cache(tmp_path / "cache").recipes]
    assert sorted(recipe.endswith(", view mirrored") for recipe in recipes) == [False, True]


def test_no_warning(counting: CountingBackbone, paths: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows(paths, tta="flip", pooling="max")
