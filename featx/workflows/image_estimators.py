"""Estimators that need more than features: images, for the backbone itself, fine-tuned; or texts, for zero-shot."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.registry import load_backbone
from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import FINE_TUNE, ZERO_SHOT, EstimatorsLike, is_fine_tune, is_zero_shot
from featx.datasets.image_table import ImageTable
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.text.text_rows import check_text_support
from featx.models.fine_tuning.classifier import FineTunedClassifier
from featx.models.zero_shot.classifier import make_bound
from featx.models.zero_shot.prompts import texts_by_class
from featx.system.array_types import AnyArray
from featx.workflows.config import ComparisonConfig

#: Parameters that may differ from those of the extraction, because they do not change its features.
_INDEPENDENT_PARAMETERS = ("batch_size", "cache", "verbose")


def _values(estimators: EstimatorsLike | None) -> list[Any]:
    return list(estimators.values() if isinstance(estimators, Mapping) else estimators or [])


def image_estimators(estimators: EstimatorsLike | None) -> list[Any]:
    """Return the estimators that are fitted on images."""
    return [estimator for estimator in _values(estimators) if _takes_images(estimator)]


def feature_estimators(estimators: EstimatorsLike | None) -> EstimatorsLike | None:
    """Return the estimators that are fitted on features alone; None stands for the default ones."""
    return _without(estimators, lambda estimator: _takes_images(estimator) or is_zero_shot(estimator))


def _without(estimators: EstimatorsLike | None, is_omitted: Callable[[Any], bool]) -> EstimatorsLike | None:
    if isinstance(estimators, Mapping):
        return {name: estimator for name, estimator in estimators.items() if not is_omitted(estimator)}
    return estimators if estimators is None else [item for item in estimators if not is_omitted(item)]


def _takes_images(estimator: Any) -> bool:
    return is_fine_tune(estimator) or isinstance(estimator, FineTunedClassifier)


def check_feature_estimators(config: ComparisonConfig) -> None:
    """Raise an error if an estimator is fitted on images, which stored features do not have.

    Raises
    ------
    OptionError
    """
    if image_estimators(config.estimators):
        raise OptionError(
            f"{FINE_TUNE!r} is fitted on images, which stored features do not have. Remove it, or compare the images: "
            "compare_images (featx compare photos/)."
        )


def validate_image_estimators(config: ComparisonConfig, options: Sequence[ExtractionOptions]) -> list[str]:
    """Check that estimators on images suit each backbone, and return notes on them.

    Parameters
    ----------
    config : ComparisonConfig
    options : sequence of ExtractionOptions
        One for each backbone.

    Raises
    ------
    OptionError
        If features are averaged by test-time augmentation, or a classifier has parameters unlike the extraction.
    """
    estimators = image_estimators(config.estimators)
    if not estimators:
        return []
    for extraction in options:
        if extraction.tta is not None:
            raise OptionError(
                f"{FINE_TUNE!r} does not support test-time augmentation, got tta={extraction.tta!r}. Remove "
                f"tta (--tta), or {FINE_TUNE!r}."
            )
        if any(value is not None for value in (extraction.window, extraction.bit_depth, extraction.bands)):
            raise OptionError(
                f"{FINE_TUNE!r} does not support bit_depth (--bit-depth), window (--window) and bands (--bands). "
                f"Remove them, or {FINE_TUNE!r}."
            )
        for estimator in estimators:
            if isinstance(estimator, FineTunedClassifier):
                _check_same_parameters(estimator, extraction)
    return [f"{FINE_TUNE} is not tuned by tune=True (--tune): it uses its default parameters."] if config.tune else []


def uses_texts(config: ComparisonConfig) -> bool:
    """Return whether an estimator compares images with texts."""
    return any(map(is_zero_shot, _values(config.estimators)))


def validate_zero_shot(config: ComparisonConfig, backbones: Sequence[Resolved], y: AnyArray) -> list[str]:
    """Check that zero-shot classification suits a backbone and the prompts the classes, and return notes on it.

    Parameters
    ----------
    config : ComparisonConfig
    backbones : sequence of Resolved
    y : ndarray of shape (n_samples,)
        Labels.

    Raises
    ------
    OptionError
        If no backbone has a text tower, or a class has no prompt.
    """
    estimators = _values(config.estimators)
    if not uses_texts(config):
        if config.prompts is None:
            return []
        raise OptionError(
            f"prompts (--prompts) requires the estimator {ZERO_SHOT!r}. Add {ZERO_SHOT!r} to estimators (--estimator), "
            "or remove prompts (--prompts)."
        )
    unsuited = [backbone for backbone in backbones if not _has_text(backbone)]
    if unsuited and (len(unsuited) == len(backbones) or all(map(is_zero_shot, estimators))):
        check_text_support(unsuited[0], ZERO_SHOT)  # raises
    example = texts_by_class(np.unique(y).tolist(), config.prompts)[0][0]
    notes = [f"{ZERO_SHOT} compares images with texts such as {example!r}. Other texts: prompts (--prompts)."]
    notes += [
        f"{ZERO_SHOT} was not compared on {backbone.backbone.name}, whose features are not comparable with texts."
        for backbone in unsuited
    ]
    return notes


def _has_text(resolved: Resolved) -> bool:
    try:
        check_text_support(resolved, ZERO_SHOT)
    except OptionError:
        return False
    return True


def bind_texts(config: ComparisonConfig, resolved: Resolved, y: AnyArray, cache: Path | None) -> EstimatorsLike | None:
    """Return the estimators, with zero-shot classification bound to the texts of all classes.

    It is omitted if the backbone has no text tower.

    Parameters
    ----------
    config : ComparisonConfig
    resolved : Resolved
        Backbone of the features.
    y : ndarray of shape (n_samples,)
        Labels.
    cache : Path or None
    """
    estimators = config.estimators
    if not uses_texts(config):
        return estimators
    if not _has_text(resolved):
        return _without(estimators, is_zero_shot)
    classifier = make_bound(resolved, config.prompts, np.unique(y).tolist(), cache)

    def bind(name: str, estimator: Any) -> Any:
        return Baseline(name, lambda n_train: clone(classifier)) if is_zero_shot(estimator) else estimator

    if isinstance(estimators, Mapping):
        return {name: bind(name, estimator) for name, estimator in estimators.items()}
    return [bind(ZERO_SHOT, estimator) for estimator in estimators or []]


def _check_same_parameters(estimator: FineTunedClassifier, extraction: ExtractionOptions) -> None:
    """Raise an error if a parameter of a classifier is neither its default nor that of the extraction."""
    defaults = FineTunedClassifier().get_params()
    for name, expected in _shared_parameters(extraction, None).items():
        value = getattr(estimator, name)
        accepted = [_normalize(name, defaults[name], extraction), _normalize(name, expected, extraction)]
        if name not in _INDEPENDENT_PARAMETERS and _normalize(name, value, extraction) not in accepted:
            raise OptionError(
                f"{name} of FineTunedClassifier must be that of the compared backbone, {expected!r}, got {value!r}. "
                f"Remove {name}, or compare FeatureExtractor(..., {name}={value!r})."
            )


def _normalize(name: str, value: Any, extraction: ExtractionOptions) -> Any:
    """Return one spelling for each value of a parameter."""
    if name == "image_size":
        backbone = load_backbone(extraction.backbone)
        value = (backbone.fixed_image_size or backbone.image_size) if value is None else value
        return tuple(value) if isinstance(value, list | tuple) else (value, value)
    if name == "backbone":
        return as_backbone_name(value)
    if name == "layer" and isinstance(value, str | int):
        return (value,)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return tuple(value) if isinstance(value, list) else value


def bind_images(
    config: ComparisonConfig, table: ImageTable, extraction: ExtractionOptions, cache: Path | None
) -> EstimatorsLike | None:
    """Return the estimators, with those on images bound to the images and the backbone.

    Parameters
    ----------
    config : ComparisonConfig
    table : ImageTable
        Images of the feature rows, in the same order.
    extraction : ExtractionOptions
    cache : Path or None
    """
    estimators = config.estimators
    if estimators is None:
        return None
    shared = _shared_parameters(extraction, cache)
    if isinstance(estimators, Mapping):
        return {
            name: _bind(name, estimator, shared, config, table) if _takes_images(estimator) else estimator
            for name, estimator in estimators.items()
        }
    bound: list[Any] = []
    names: set[str] = set()
    for number, estimator in enumerate(estimators, 1):
        if not _takes_images(estimator):
            bound.append(estimator)
            continue
        name = FINE_TUNE if FINE_TUNE not in names else f"{FINE_TUNE}-{number}"
        names.add(name)
        bound.append(_bind(name, estimator, shared, config, table))
    return bound


def _bind(
    name: str, estimator: Any, shared: Mapping[str, Any], config: ComparisonConfig, table: ImageTable
) -> Baseline:
    """Return a baseline that is fitted on the images of a table."""
    parameters = dict(shared)
    if isinstance(estimator, FineTunedClassifier):
        classifier = clone(estimator)
        if classifier.cache != "auto":
            parameters["cache"] = classifier.cache
    else:
        classifier = FineTunedClassifier(random_state=config.random_state)
    if classifier.random_state is None:
        classifier.set_params(random_state=config.random_state)
    classifier.set_params(**parameters)
    return Baseline(name, lambda n_train: clone(classifier), images=list(table.paths))


def make_fine_tuned(extraction: ExtractionOptions, random_state: int, cache: Path | None) -> FineTunedClassifier:
    """Return the unfitted classifier that ``"fine-tune"`` stands for."""
    return FineTunedClassifier(random_state=random_state, **_shared_parameters(extraction, cache))


def _shared_parameters(extraction: ExtractionOptions, cache: Path | None) -> dict[str, Any]:
    """Return the parameters of fine-tuning that follow from the extraction.

    The batch size does not: it changes nothing in an extraction, but it does in training.
    """
    names = FineTunedClassifier().get_params()
    shared = {name: value for name, value in dataclasses.asdict(extraction).items() if name in names}
    shared.pop("batch_size", None)
    return {**shared, "cache": cache}
