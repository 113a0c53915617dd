"""Estimated time and memory of a fit."""

import functools
import mmap
import sys

import numpy as np
import pytest

from featx.baselines.builtin_baselines import BASELINES, Baseline
from featx.baselines.folds.stratified import stratified_sample
from featx.baselines.scaling import cost as cost_module
from featx.baselines.scaling.cost import estimate_cost, extrapolate_memory, fit_bytes

TRAIN, TEST = np.arange(40_000), np.arange(40_000, 50_000)
sample = functools.partial(stratified_sample, strata=np.zeros(50_000, dtype=int), rng=np.random.default_rng(0))
BUILTIN = {baseline.name: baseline for baseline in BASELINES["classification"]}


def allocate(n_bytes):
    """Write to memory that the process did not have before: NumPy may be given what earlier tests have freed."""
    if cost_module.sys.platform == "linux":
        with mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            np.frombuffer(memory, dtype=np.uint8)[:] = 1
    else:
        np.ones(n_bytes, dtype=np.uint8)


def estimate(n_bytes, *, memory=1e15):
    """Return the estimated memory of fits that allocate a number of bytes, and the sizes of the parts."""
    sizes = []

    def score(fold):
        sizes.append(len(fold[0]))
        allocate(int(n_bytes(len(fold[0]))))

    cost = estimate_cost(score, (TRAIN, TEST), lambda rows, n_rows: sample(rows, n_rows=n_rows), 2000, memory=memory)
    return cost.n_bytes - 250_000_000, sizes


ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak memory of a process")


@pytest.mark.parametrize("has_proc", [pytest.param(True, marks=ONLY_LINUX), False])
def test_memory_is_measured(has_proc, monkeypatch):
    if not has_proc:
        monkeypatch.setattr(cost_module.sys, "platform", "darwin")
    n_bytes, _ = estimate(lambda n: 30_000_000 + 1000 * n)
    assert n_bytes == pytest.approx(70_000_000, rel=0.15)
    if not has_proc:  # not measured where no memory is known
        assert estimate(lambda n: 30_000_000, memory=np.inf)[0] == 0


def test_memory_that_does_not_grow_is_not_multiplied():
    n_bytes, _ = estimate(lambda n: 50_000_000)
    assert n_bytes == pytest.approx(50_000_000, rel=0.1)


def test_a_third_part_shows_that_memory_grows_as_a_square(monkeypatch):
    monkeypatch.setattr(cost_module, "_MIN_SECONDS", 0.0)
    line, sizes = estimate(lambda n: 40_000_000 + n**2)
    assert sizes == [2000, 4000]
    assert line < 1e9
    square, sizes = estimate(lambda n: 40_000_000 + n**2, memory=1e9)
    assert sizes == [2000, 4000, 8000]
    assert square == pytest.approx(1.64e9, rel=0.1)


def test_fits_on_all_rows_are_not_repeated():
    sizes = []
    fold = (TRAIN[:1500], TEST[:300])
    estimate_cost(lambda part: sizes.append(len(part[0])), fold, lambda rows, n_rows: rows[:n_rows], 2000)
    assert sizes == [1500]


def test_memory_below_a_line_through_zero_is_a_constant_and_a_line():
    assert extrapolate_memory([2000, 4000], [3e9, 4e9], 8000) == 6e9
    assert extrapolate_memory([2000, 4000], [1e9, 4e9], 8000) == 16e9


def test_wide_data_and_many_classes_take_much_memory():
    gigabytes = {name: round(fit_bytes(baseline, 2000, 130_000, 1000) / 1e9) for name, baseline in BUILTIN.items()}
    assert gigabytes["logreg"] == 30
    assert gigabytes["lda"] > 500
    assert gigabytes["dummy"] == 0
    forest = Baseline("forest", lambda n_train: None)
    assert fit_bytes(forest, 10_000, 100, 600) > 14e9
    assert fit_bytes(BUILTIN["svm"], 10_000, 100, 600) < 3e9  # its votes are computed in blocks
    assert all(fit_bytes(baseline, 1800, 1024, 10) < 150e6 for baseline in [*BUILTIN.values(), forest])
