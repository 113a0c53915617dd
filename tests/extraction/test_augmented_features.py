from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from featx import FeatureExtractor, augment_features
from featx.errors import ComparisonError, InputError, OptionError, UnreadableImageError, UnreadableImagesWarning
from featx.testing import CountingBackbone

Array = np.ndarray[Any, Any]


@pytest.fixture
def extractor(counting: CountingBackbone, tmp_path: Path) -> FeatureExtractor:
    return FeatureExtractor("counting", cache=tmp_path / "cache")


def test_images_come_first_and_each_copy_has_its_source(
    extractor: FeatureExtractor, paths: list[str], labels: list[str]
) -> None:
    augmented = augment_features(paths, labels, n_copies=3, extractor=extractor)
    assert (augmented.X.shape, augmented.X.dtype, augmented.n_images) == ((96, 12), np.float32, 24)
    np.testing.assert_array_equal(augmented.X[:24], extractor.transform(paths))
    np.testing.assert_array_equal(augmented.source, list(range(24)) * 4)
    assert augmented.y is not None
    assert augmented.y.tolist() == labels * 4
    np.testing.assert_array_equal(augmented.groups, augmented.source)
    # A copy is nearer to its source than to the others, on average, and no two are the same.
    distance = np.linalg.norm(augmented.X[24:, None] - augmented.X[None, :24], axis=2)
    assert distance[np.arange(72), augmented.source[24:]].mean() < distance.mean() / 2
    assert len(np.unique(augmented.X, axis=0)) == 96


def test_same_call_gives_the_same_rows_from_the_cache(
    extractor: FeatureExtractor, counting: CountingBackbone, paths: list[str]
) -> None:
    first = augment_features(paths, n_copies=2, extractor=extractor)
    assert counting.n_images == 72
    np.testing.assert_array_equal(augment_features(paths, n_copies=2, extractor=extractor).X, first.X)
    assert counting.n_images == 72
    without = FeatureExtractor("counting", cache=None)
    np.testing.assert_array_equal(augment_features(paths, n_copies=2, extractor=without).X, first.X)


def test_copy_is_determined_by_image_random_state_and_number(
    extractor: FeatureExtractor, counting: CountingBackbone, paths: list[str]
) -> None:
    first = augment_features(paths, n_copies=2, extractor=extractor).X.reshape(3, 24, 12)
    others = augment_features([*paths[5:0:-1], paths[3]], n_copies=4, extractor=extractor).X.reshape(5, 6, 12)
    np.testing.assert_array_equal(others[:3, :5], first[:, 5:0:-1])
    np.testing.assert_array_equal(others[:, 5], others[:, 2])
    assert counting.n_images == 72 + 10
    another = augment_features(paths, n_copies=2, random_state=1, extractor=extractor).X.reshape(3, 24, 12)
    np.testing.assert_array_equal(another[0], first[0])
    assert not np.isclose(another[1:], first[1:]).all(axis=2).any()


def test_folds_train_on_copies_and_test_on_images_of_other_groups(
    extractor: FeatureExtractor, paths: list[str], labels: list[str]
) -> None:
    bursts = [index // 2 for index in range(24)]
    augmented = augment_features(paths, labels, bursts, n_copies=2, extractor=extractor)
    folds = augmented.folds(4)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(24))
    for train, test in folds:
        assert not set(augmented.groups[train]) & set(augmented.groups[test])
        assert len(train) == 3 * (24 - len(test))
    scores = cross_val_score(LogisticRegression(max_iter=1000), augmented.X, augmented.y, cv=folds)
    assert len(scores) == 4
    for one, other in zip(folds, augmented.folds(4), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_copies_of_equal_images_are_in_one_fold(
    counting: CountingBackbone, paths: list[str], labels: list[str]
) -> None:
    twice, bad = [*paths, *paths[::-1]], b"bad"
    extractor = FeatureExtractor("counting", cache=None, on_error="nan")
    with pytest.warns(UnreadableImagesWarning):
        augmented = augment_features(
            [*twice, bad, bad], [*labels, *labels[::-1], "a", "a"], n_copies=1, extractor=extractor
        )
    np.testing.assert_array_equal(augmented.groups, [*range(24), *range(23, -1, -1), 24, 25] * 2)
    for train, test in augmented.folds(3):
        assert not set(augmented.groups[train]) & set(augmented.groups[test])
    alike = augment_features(twice[:1] * 2, n_copies=1, extractor=extractor)
    np.testing.assert_array_equal(alike.groups, [0] * 4)


def test_near_duplicates_form_a_group(photos: list[Any], compiled_cache: Path) -> None:
    some = [np.asarray(photo) for photo in photos[:24:4]]
    augmented = augment_features([*some, some[1][:, 1:]], n_copies=1, extractor=FeatureExtractor(cache=compiled_cache))
    np.testing.assert_array_equal(augmented.groups, [0, 1, 2, 3, 4, 5, 1] * 2)


def test_folds_from_a_splitter_or_a_list(extractor: FeatureExtractor, paths: list[str], labels: list[str]) -> None:
    augmented = augment_features(paths, labels, [index % 6 for index in range(24)], n_copies=1, extractor=extractor)
    given = [(np.arange(0, 24, 2), np.arange(1, 24, 2))]
    ((train, test),) = augmented.folds(given)
    np.testing.assert_array_equal(train, [*range(0, 24, 2), *range(24, 48, 2)])
    np.testing.assert_array_equal(test, given[0][1])
    assert len(augmented.folds(GroupKFold(3))) == 3
    continuous = augment_features(paths, np.linspace(0, 1, 24), n_copies=1, extractor=extractor)
    assert len(continuous.folds(3)) == 3


def test_groups_may_be_strings_and_missing(extractor: FeatureExtractor, paths: list[str]) -> None:
    augmented = augment_features(paths[:4], groups=["a", None, "a", None], n_copies=1, extractor=extractor)
    np.testing.assert_array_equal(augmented.groups, [0, 1, 0, 2] * 2)
    assert augmented.y is None
    with pytest.raises(OptionError, match="Pass y to augment_features"):
        augmented.folds()


def test_unreadable_image_raises_or_has_rows_of_nan(paths: list[str], counting: CountingBackbone) -> None:
    images = [paths[0], b"bad", paths[1]]
    with pytest.raises(UnreadableImageError, match="index 1"):
        augment_features(images, n_copies=2, extractor=FeatureExtractor("counting"))
    with pytest.warns(UnreadableImagesWarning, match="1 of 3 images") as warned:
        augmented = augment_features(images, n_copies=2, extractor=FeatureExtractor("counting", on_error="nan"))
    assert len(warned) == 1
    np.testing.assert_array_equal(np.isnan(augmented.X).any(axis=1), augmented.source == 1)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_images_without_label_or_rows_are_in_no_fold(
    missing: Any, paths: list[str], labels: list[str], counting: CountingBackbone
) -> None:
    images, y = [paths[0], b"bad", *paths[1:]], [labels[0], labels[0], missing, *labels[2:]]
    with pytest.warns(UnreadableImagesWarning):
        augmented = augment_features(images, y, n_copies=1, extractor=FeatureExtractor("counting", on_error="nan"))
    folds = augmented.folds(3)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == [0, *range(3, 25)]
    for train, _ in folds:
        assert np.isfinite(augmented.X[train]).all()
        assert not np.isin(augmented.source[train], [1, 2]).any()
    assert cross_val_score(KNeighborsClassifier(), augmented.X, augmented.y, cv=folds, error_score="raise").shape == (
        3,
    )
    ((train, test),) = augmented.folds([(np.arange(0, 25, 2), np.arange(1, 25, 2))])
    assert test.tolist() == list(range(3, 25, 2))
    assert sorted(train.tolist()) == [0, *range(4, 25, 2), 25, *range(29, 50, 2)]
    assert len(augmented.folds(KFold(3))) == 3


def test_numeric_classes_with_a_missing_label_stay_classes(extractor: FeatureExtractor, paths: list[str]) -> None:
    augmented = augment_features(paths, [0, 1] * 11 + [np.nan, 1], n_copies=1, extractor=extractor)
    assert sorted(np.concatenate([test for _, test in augmented.folds(2)]).tolist()) == [*range(22), 23]


def test_empty_input(extractor: FeatureExtractor) -> None:
    augmented = augment_features([], [], extractor=extractor)
    assert (augmented.X.shape, augmented.n_images) == ((0, 12), 0)


def test_fitted_recipe_applies_to_copies(extractor: FeatureExtractor, paths: list[str]) -> None:
    extractor.set_params(precision="auto").fit(paths)
    expected = augment_features(paths, n_copies=1, extractor=extractor).X
    np.testing.assert_array_equal(
        augment_features(paths, n_copies=1, extractor=FeatureExtractor("counting")).X, expected
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_copies": 0}, "n_copies must be an integer from 1 to 100, got 0"),
        ({"n_copies": 2.0}, "got 2.0"),
        ({"n_copies": True}, "got True"),
        ({"random_state": None}, "random_state must be an integer from 0 to 4294967295, got None"),
        ({"random_state": -1}, "got -1"),
        ({"y": ["a"]}, "one label for each of 24 images"),
        ({"extractor": FeatureExtractor("counting", tta="flip")}, "tta='flip'.* Pass an extractor without tta"),
        ({"extractor": FeatureExtractor("countng")}, "Unknown backbone"),
    ],
)
def test_invalid_parameters_are_rejected(
    wrong: dict[str, Any], message: str, counting: CountingBackbone, paths: list[str]
) -> None:
    with pytest.raises(OptionError, match=message):
        augment_features(paths, **{"extractor": FeatureExtractor("counting"), **wrong})
    assert counting.n_images == 0


def test_wrong_number_of_groups_and_a_single_image_are_rejected(extractor: FeatureExtractor, paths: list[str]) -> None:
    with pytest.raises(ComparisonError, match="groups must have shape .24,."):
        augment_features(paths, groups=[1, 2], extractor=extractor)
    with pytest.raises(InputError, match="Put it in a list"):
        augment_features(paths[0], extractor=extractor)
