"""Extractors and modified model files for the tests of models."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from featx import FeatureExtractor
from featx.baselines.estimators import make_baseline
from featx.models.archive import checksum

Array = np.ndarray[Any, Any]


def extractor(**options: Any) -> FeatureExtractor:
    return FeatureExtractor("color_histogram", image_size=8, **options)


def rewrite_model(model: Path, path: Path, change: Any, *, digests: bool = False) -> Path:
    """Copy a model whose files `change` modifies, with a correct checksum of its description.

    With `digests`, the checksums of the files are updated, too.
    """
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    description = json.loads(members["featx.json"])
    if digests:
        files = {name: content for name, content in members.items() if name != "featx.json"}
        description["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if digests or "checksum" in description:
        members["featx.json"] = json.dumps({**description, "checksum": checksum(description)}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def change_description(model: Path, path: Path, **changed: Any) -> Path:
    """Copy a model with another description and its correct checksum."""

    def change(members: dict[str, bytes]) -> None:
        members["featx.json"] = json.dumps({**json.loads(members["featx.json"]), **changed}).encode()

    return rewrite_model(model, path, change)


def digit_features(n_classes: int) -> tuple[Array, Array, Array]:
    """Features and labels of handwritten digits to fit on, and features of others."""
    X, y = load_digits(return_X_y=True)
    X += np.random.default_rng(0).uniform(0, 0.1, X.shape)  # no feature is constant
    X, y = X[y < n_classes].astype("float32"), np.array([f"digit {number}" for number in y[y < n_classes]])
    return X[:220], y[:220], X[220:]


def make_estimator(name: str, task: str = "classification") -> Any:
    """A baseline whose predictions follow its scores."""
    estimator = make_baseline(name, task=task)
    return estimator.set_params(break_ties=True) if isinstance(estimator, SVC) else estimator
