"""A fitted pipeline in one file that runs no code when it is read: skops's format, and beside it what it was made of.

The file is an uncompressed zip archive: what skops writes (``schema.json`` and ``.npy`` files), ``featx.json`` (what
the model is, and the SHA-256 of every other file), and below ``featx/`` arrays by which predictions need no
scikit-learn.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files.model_cache import cache_model_file
from featx.backbones.files.network_file import read_model_file
from featx.baselines.splits import group_codes
from featx.errors import ModelFileError, StoreError
from featx.extraction.options import ExtractionOptions
from featx.features.duplicates.find import find_duplicates
from featx.models import archive as model_archives
from featx.models import validation as model_checks
from featx.models.archive import ARRAYS, DESCRIPTION, NETWORK, damaged
from featx.models.head.head import Head
from featx.models.model import Model, ModelCard, make_card, portable_options
from featx.models.novelty import MOST_ROWS, NoveltyDetector
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error
from featx.system.version import __version__

_NETWORK_NAME = re.compile(r"[\w. -]{1,100}\.(keras|h5|hdf5|onnx)")
_OF_CARD = {field.name for field in dataclasses.fields(ModelCard)}
_OF_EXTRACTION = {field.name for field in dataclasses.fields(ExtractionOptions)}


def save_pipeline(
    pipeline: Any,
    path: str | os.PathLike[str],
    *,
    features: Any = None,
    y: Any = None,
    groups: Any = None,
    scores: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a fitted pipeline of images to one file, which runs no code when it is read.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline or FineTunedClassifier
        Its first step a :class:`featx.FeatureExtractor`, its last a classifier or regressor; fitted. Or a fitted
        :class:`featx.FineTunedClassifier`. A network in one file of the user's own becomes part of the model. The
        ``covariance_`` of linear discriminant analysis, which no prediction needs, does not.
    path : str or Path
        By custom with the suffix ``.skops``. A model that is there already is replaced.
    features : array-like of float, shape (n_samples, n_features), or None, default=None
        Rows that its estimator was fitted on. With them, images that are unlike all of these can be told later.
    y : array-like, shape (n_samples,), or None, default=None
        Their labels: how many there were of each is written, too.
    groups : array-like, shape (n_samples,), or None, default=None
        Equal for images that show one thing; None is near-duplicates, as :func:`featx.find_duplicates` tells them.
    scores : mapping or None, default=None
        How well it does, to be written with it.
    notes : sequence of str, default=()

    Raises
    ------
    ModelFileError
        It is no such pipeline, not fitted, or made of parts that would not be trusted when it is read. Or `features`
        are no rows of its estimator's, `y` not one label for each, `scores` no plain values.
    ComparisonError
        Not one group for each row.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    model_checks.check_model_path(path)
    pipeline = model_checks.whole(pipeline)
    extractor, estimator = model_checks.parts_of(pipeline)
    rows = model_checks.checked_material(features, y, extractor.n_features_out_)
    n_images = 0 if rows is None else len(rows)
    plain, notes = model_checks.plain_scores(scores or {}), [str(note) for note in notes]
    card = make_card(extractor, estimator, n_images=n_images, y=y, scores=plain, notes=notes)
    head = model_checks.head_of(estimator)
    if head is not None:
        some = np.random.default_rng(0).random((64, extractor.n_features_out_)) if rows is None else rows
        model_checks.check_decisions(head, estimator, some)
    novelty_detector = None if rows is None else _familiarity(rows, groups)
    data = _packed(pipeline, card, head, novelty_detector)
    with as_output_error(path), atomic_write(path) as temporary:
        temporary.write_bytes(data)


def _familiarity(rows: np.ndarray[Any, Any], groups: Any) -> NoveltyDetector | None:
    if groups is not None:
        return NoveltyDetector.of(rows, group_codes(list(groups), len(rows)))
    if len(rows) > MOST_ROWS:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False))]
    return NoveltyDetector.of(rows, find_duplicates(rows).groups if len(rows) > 1 else None)


def load_pipeline(path: str | os.PathLike[str]) -> Any:
    """Return the pipeline in a file that :func:`save_pipeline` or ``featx train`` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    sklearn.pipeline.Pipeline
        Fitted; it takes images.

    Raises
    ------
    ModelFileError
        The file is none, damaged, altered, of another format, or holds what is not to be trusted.
    RecipeMismatchError, WeightsError, UnknownBackboneError
        This machine cannot give the features that it was fitted with.
    """
    model = read_model(path)
    model.resolve()
    return model.pipeline


def read_model(path: str | os.PathLike[str]) -> Model:
    """Return what is in a file of a model; scikit-learn is loaded when it is needed.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ModelFileError
        The file is none, damaged, altered, or of another format.
    """
    name = os.fspath(path)
    data = model_archives.read_archive(Path(path), name)
    members = model_archives.unpack(name, data)
    try:
        found = json.loads(members[DESCRIPTION])
        card = ModelCard(**{name: value for name, value in found["card"].items() if name in _OF_CARD})
        if unknown := sorted(set(card.options) - _OF_EXTRACTION):
            raise ModelFileError(
                f"{name!r} was written by featx {card.versions.get('featx')}, of whose options {__version__} does not "
                f"know {', '.join(unknown)}. Install that version."
            )
        network = _kept_network(members)
        if network:
            card = dataclasses.replace(card, options={**card.options, "backbone": network})
        arrays = {
            member[len(ARRAYS) : -len(".npy")]: np.load(io.BytesIO(content), allow_pickle=False)
            for member, content in members.items()
            if member.startswith(ARRAYS)
        }
        head = None if found["head"] is None else Head.from_arrays(found["head"], arrays)
        threshold = found["novelty_threshold"]
        novelty_detector = None if threshold is None else NoveltyDetector(arrays["training"], float(threshold))
        if threshold is not None and not 0 < float(threshold) < 3:
            raise ValueError(f"novelty threshold {threshold}")
        card.as_text()  # or it could not be told
        if head is not None:
            model_checks.check_shapes(head, card)
        if novelty_detector is not None:
            model_checks.check_training(novelty_detector.rows, card)
    except (ModelFileError, StoreError):
        raise
    except (KeyError, TypeError, ValueError, EOFError, MemoryError, RecursionError, AttributeError) as error:
        raise damaged(name, f"its description cannot be understood: {error!r}") from error
    return Model(name, card, head, novelty_detector, functools.partial(_unpacked, name, data, network, card, head))


def _kept_network(members: Mapping[str, bytes]) -> str:
    """Return the path of the network that a model brings along, "" if it brings none."""
    for name, content in members.items():
        if name.startswith(NETWORK):
            if not _NETWORK_NAME.fullmatch(name[len(NETWORK) :]):
                raise ValueError(f"a network named {name!r}")
            return str(cache_model_file(content, os.path.basename(name)))
    return ""


def _packed(pipeline: Any, card: ModelCard, head: Head | None, novelty_detector: NoveltyDetector | None) -> bytes:
    import skops.io
    from sklearn.base import clone

    # Where rows are kept is a matter of each machine, and no part of a model.
    extractor = pipeline.steps[0][1]
    portable = clone(extractor).set_params(cache="auto", verbose=False)
    portable._pin = extractor._pin
    network = read_model_file(os.fspath(extractor.backbone))
    if network is not None:
        portable.rename_backbone(network[0])
    rest = model_checks.slim(pipeline[1:]).steps
    try:
        data = skops.io.dumps(type(pipeline)([(pipeline.steps[0][0], portable), *rest]))
    except Exception as error:  # skops tells of what it cannot write by anything
        raise ModelFileError(
            f"This Pipeline cannot be saved: skops says {error}. Use estimators of its kind."
        ) from error
    model_checks.refuse_strangers(data)
    described, arrays = (None, {}) if head is None else head.as_arrays()
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    if novelty_detector is not None:
        arrays["training"] = novelty_detector.rows
    members = model_archives.parts_of(data)
    if network is not None:
        members[f"{NETWORK}{network[0]}"] = network[1]
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        members[f"{ARRAYS}{name}.npy"] = buffer.getvalue()
    threshold = None if novelty_detector is None else novelty_detector.threshold
    return model_archives.pack(
        members, {"card": dataclasses.asdict(card), "head": described, "novelty_threshold": threshold}
    )


def _unpacked(name: str, data: bytes, network: str, card: ModelCard, head: Head | None) -> Any:
    """Return the pipeline in a model, which is what the model's description says."""
    import skops.io
    from sklearn.pipeline import Pipeline

    try:
        if strangers := model_checks.strangers_in(data):
            raise ModelFileError(
                f"The model {name!r} holds {', '.join(strangers)}, which could run anything on this machine, and is "
                "refused. Get it from whom you trust, or train it anew."
            )
        pipeline = skops.io.loads(data, trusted=list(model_checks.TRUSTED))
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # whatever skops makes of what somebody wrote
        raise damaged(name, f"skops cannot read it ({error})") from error
    if not isinstance(pipeline, Pipeline) or not hasattr(pipeline.steps[0][1], "recipe_"):
        raise damaged(name, f"it holds {type(pipeline).__name__} where a Pipeline was expected")
    extractor = pipeline.steps[0][1]
    extractor.set_params(cache="auto")
    if network:
        extractor.rename_backbone(network)
    classes = np.asarray(getattr(pipeline, "classes_", [])).tolist()
    is_described = extractor.recipe_ == card.recipe and portable_options(extractor) == card.options
    if not is_described or classes != card.classes:
        raise damaged(name, "its description is that of another pipeline")
    if head is not None and not model_checks.is_of(head, pipeline[1:]):
        raise damaged(name, "the numbers that it predicts by are not those of its scikit-learn pipeline")
    return pipeline
