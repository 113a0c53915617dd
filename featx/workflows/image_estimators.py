"""Estimators that are fitted on images, compared beside those that are fitted on features."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.base import clone

from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.registry import load_backbone
from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import FINE_TUNE, EstimatorsLike, is_fine_tune
from featx.datasets.image_table import ImageTable
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions
from featx.models.fine_tuning.classifier import FineTunedClassifier
from featx.workflows.request import ComparisonConfig

#: What is looked for in the store is the same wherever that is, and a batch of training is none of extraction.
_OF_ITS_OWN = ("batch_size", "cache", "verbose")


def check_image_estimators(config: ComparisonConfig, networks: Sequence[ExtractionOptions]) -> list[str]:
    """Raise if what is fitted on images cannot be fitted as each network is compared; return what to note.

    Parameters
    ----------
    config : ComparisonConfig
    networks : sequence of ExtractionOptions

    Raises
    ------
    OptionError
        A network averages views; a classifier that was given has a parameter of its own that is not the network's.
    """
    estimators = config.estimators or []
    given = estimators.values() if isinstance(estimators, Mapping) else estimators
    found = [one for one in given if _is_on_images(one)]
    for network in networks if found else ():
        if network.tta is not None:
            raise OptionError(
                f"tta={network.tta!r}: {FINE_TUNE} is shown each image once, and cannot be compared with features "
                f"averaged over views. Leave views (--tta) out, or {FINE_TUNE}."
            )
        for estimator in found:
            if isinstance(estimator, FineTunedClassifier):
                _refuse_other(estimator, network)
    return [f"Nothing is tuned (tune, --tune) in {FINE_TUNE}: it has its parameters."] if found and config.tune else []


def _refuse_other(estimator: FineTunedClassifier, network: ExtractionOptions) -> None:
    """Raise if a classifier was given a parameter that the network it would be tuned as does not have."""
    defaults = FineTunedClassifier().get_params()
    for name, wanted in _shared(network, None).items():
        given = getattr(estimator, name)
        is_default = _plain(name, given, network) == _plain(name, defaults[name], network)
        if name in _OF_ITS_OWN or is_default or _plain(name, given, network) == _plain(name, wanted, network):
            continue
        raise OptionError(
            f"FineTunedClassifier({name}={given!r}): expected {wanted!r}, as of the network that it is compared with, "
            f"whose images and features it has. Leave {name} out, or compare FeatureExtractor(..., {name}={given!r})."
        )


def _plain(name: str, value: Any, network: ExtractionOptions) -> Any:
    """Return a parameter in one of the ways to write it."""
    if name == "image_size":
        backbone = load_backbone(network.backbone)
        value = (backbone.fixed_image_size or backbone.image_size) if value is None else value
        return tuple(value) if isinstance(value, list | tuple) else (value, value)
    if name == "backbone":
        return as_backbone_name(value)
    if name == "layer" and isinstance(value, str | int):
        return (value,)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return tuple(value) if isinstance(value, list) else value


def feature_estimators(estimators: EstimatorsLike | None) -> EstimatorsLike | None:
    """Return the estimators that are fitted on features; None if these are the usual ones."""
    if isinstance(estimators, Mapping):
        return {name: one for name, one in estimators.items() if not _is_on_images(one)}
    return estimators if estimators is None else [one for one in estimators if not _is_on_images(one)]


def bind_images(
    config: ComparisonConfig, table: ImageTable, network: ExtractionOptions, cache: Path | None
) -> EstimatorsLike | None:
    """Return the estimators, those that are fitted on images given them, and the network that is compared.

    Parameters
    ----------
    config : ComparisonConfig
    table : ImageTable
        The images, a row of features for each.
    network : ExtractionOptions
    cache : Path or None
    """
    if config.estimators is None:
        return None
    shared = _shared(network, cache)
    pairs = (
        config.estimators.items()
        if isinstance(config.estimators, Mapping)
        else [("", one) for one in config.estimators]
    )
    found: dict[str, Any] = {}
    for number, (name, estimator) in enumerate(pairs):
        if _is_on_images(estimator):
            unique = name or (FINE_TUNE if FINE_TUNE not in found else f"{FINE_TUNE}-{number + 1}")
            found[unique] = _on_images(estimator, shared, config.random_state, unique, table)
        else:
            found[name or f" {number}"] = estimator
    return found if isinstance(config.estimators, Mapping) else list(found.values())


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
    if is_given and classifier.cache != "auto":
        shared = {**shared, "cache": classifier.cache}
    classifier.set_params(**shared)
    return Baseline(name, lambda n_train: clone(classifier), images=list(table.paths))


def _is_on_images(estimator: Any) -> bool:
    return is_fine_tune(estimator) or isinstance(estimator, FineTunedClassifier)
