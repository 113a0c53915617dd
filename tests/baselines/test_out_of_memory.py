"""Estimators that run out of memory for real: in a process whose memory is limited."""

import subprocess
import sys
import textwrap

import pytest

CODE = """
import resource
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from featx import compare_baselines
from featx.baselines.scaling.limits import ScaleLimits


class Hungry(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.work_ = np.ones(len(X) * 1_000_000)  # 8 MB for each row
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (8_000_000_000, 8_000_000_000))


if __name__ == "__main__":
    limit_memory()
    X, y = load_digits(return_X_y=True)
    comparison = compare_baselines(
        X[:1500], y[:1500] % 2, estimators=["dummy", Hungry(), "ridge"], n_jobs=1, limits=ScaleLimits(LIMITS)
    )
    print(comparison.table["estimator"].tolist())
    print(*comparison.notes, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
@pytest.mark.parametrize("limits", ["", "exact_rows=100, sample_rows=10"])
def test_an_allocation_that_fails_costs_one_estimator(limits, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(CODE).replace("LIMITS", limits))
    process = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "['dummy', 'ridge']"
    (note,) = (line for line in lines[1:] if "Hungry" in line)
    assert note.startswith("Excluded Hungry: ")
    assert "memory" in note
    assert note.endswith("Compare fewer samples, or other estimators.")
