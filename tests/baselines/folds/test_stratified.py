"""Stratified samples."""

import numpy as np
import pytest

from featx.baselines.folds.stratified import strata_of, stratified_sample
from featx.datasets.tags import Tags, tag_matrix

RNG = np.random.default_rng(0)


def draw(strata, n_rows, **options):
    return stratified_sample(np.arange(len(strata)), strata, n_rows, np.random.default_rng(0), **options)


def test_each_class_has_its_share_and_a_minimum():
    strata = np.repeat(np.arange(4), [600, 300, 97, 3])
    counts = np.bincount(strata[draw(strata, 100)])
    assert counts[:2] == pytest.approx([60, 30], abs=1)
    assert counts[2:].tolist() == [9, 3]
    assert np.bincount(strata[draw(strata, 10, min_per_class=2)]).tolist() == [6, 3, 2, 2]


def test_rows_of_many_classes_are_no_more_than_their_minimum():
    strata = np.arange(1000) % 100
    assert np.bincount(strata[draw(strata, 200, min_per_class=2)]).tolist() == [2] * 100


def test_rows_that_a_rare_class_adds_are_of_different_groups():
    strata = np.repeat([0, 1], [1000, 40])
    groups = np.concatenate([np.arange(1000), 1000 + np.repeat([0, 1, 2], [38, 1, 1])])
    drawn = draw(strata, 10, groups=groups)
    assert {1001, 1002} <= set(groups[drawn])


def test_targets_are_drawn_from_their_whole_range():
    targets = RNG.standard_normal(1000)
    drawn = targets[draw(targets, 50)]
    assert len(drawn) == 50
    assert [drawn.min(), drawn.max()] == [targets.min(), targets.max()]


def test_rare_tags_are_drawn():
    y = np.array([Tags(["a", "b"]) for _ in range(900)] + [Tags([])] * 90 + [Tags(["a", "rare"])] * 10, dtype=object)
    drawn = y[draw(strata_of(y, "multilabel"), 20)]
    assert (tag_matrix(drawn, ["a", "b", "rare"]).sum(axis=0) >= 5).all()


def test_a_small_set_is_drawn_whole_and_the_same_seed_draws_the_same():
    strata = np.arange(30) % 3
    assert draw(strata, 30).tolist() == list(range(30))
    assert draw(strata, 9).tolist() == draw(strata, 9).tolist()
