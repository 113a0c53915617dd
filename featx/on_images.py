"""Estimators that are fitted on images, compared beside those that are fitted on features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn.base import clone

from featx.asked import Asked
from featx.estimators import FINE_TUNE, Baseline, Wanted, is_fine_tune
from featx.fine_tuning import FineTunedClassifier
from featx.options import ExtractionOptions
from featx.sources import ImageTable


def without_those(estimators: Wanted | None) -> Wanted | None:
    """Return the estimators that are fitted on features; None if these are the usual ones."""
    if isinstance(estimators, Mapping):
        return {name: one for name, one in estimators.items() if not _is_on_images(one)}
    return estimators if estimators is None else [one for one in estimators if not _is_on_images(one)]


def with_images(asked: Asked, table: ImageTable, network: ExtractionOptions, cache: Path | None) -> Wanted | None:
    """Return the estimators, those that are fitted on images given them, and the network that is compared.

    Parameters
    ----------
    asked : Asked
    table : ImageTable
        The images, a row of features for each.
    network : ExtractionOptions
    cache : Path or None
    """
    if asked.estimators is None:
        return None
    shared = _shared(network, cache)
    pairs = (
        asked.estimators.items() if isinstance(asked.estimators, Mapping) else [("", one) for one in asked.estimators]
    )
    found: dict[str, Any] = {}
    for number, (name, estimator) in enumerate(pairs):
        if _is_on_images(estimator):
            unique = name or (FINE_TUNE if FINE_TUNE not in found else f"{FINE_TUNE}-{number + 1}")
            found[unique] = _on_images(estimator, shared, asked.random_state, unique, table)
        else:
            found[name or f" {number}"] = estimator
    return found if isinstance(asked.estimators, Mapping) else list(found.values())


def fine_tuned(
    network: ExtractionOptions, random_state: int, cache: Path | None, *, verbose: bool = False
) -> FineTunedClassifier:
    """Return the unfitted classifier that ``fine-tune`` stands for, of a network."""
    return FineTunedClassifier(random_state=random_state, verbose=verbose, **_shared(network, cache))


def _shared(network: ExtractionOptions, cache: Path | None) -> dict[str, Any]:
    """Return the parameters that tuning a network has from extracting with it."""
    of_ours = FineTunedClassifier().get_params()
    # The batch size of an extraction changes nothing; that of training does.
    shared = {name: value for name, value in dataclasses.asdict(network).items() if name in of_ours}
    return {**{name: value for name, value in shared.items() if name != "batch_size"}, "cache": cache}


def _on_images(estimator: Any, shared: dict[str, Any], random_state: int, name: str, table: ImageTable) -> Baseline:
    is_given = isinstance(estimator, FineTunedClassifier)
    classifier = clone(estimator) if is_given else FineTunedClassifier(random_state=random_state)
    if classifier.random_state is None:
        classifier.set_params(random_state=random_state)
    classifier.set_params(**shared)
    return Baseline(name, lambda n_train: clone(classifier), images=list(table.paths))


def _is_on_images(estimator: Any) -> bool:
    return is_fine_tune(estimator) or isinstance(estimator, FineTunedClassifier)
