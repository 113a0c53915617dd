"""Read and write a model: a fitted pipeline in one file whose loading executes no code from it.

A third of this file is the documentation of its public functions.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.described import DescribedNetwork
from featx.backbones.files.archived_network import ArchivedNetwork
from featx.backbones.files.network_file import describe_for_models, register_network
from featx.errors import FeatxWarning, ModelFileError, OptionError, ResourceError, StoreError
from featx.extraction.engines.archived_graph import ArchivedGraph
from featx.extraction.engines.engine import PrecisionName
from featx.extraction.options import ExtractionOptions
from featx.images.image import Kind, check_allow
from featx.models.archive import ARRAYS, NETWORK, TRAINING_ROWS, corrupt, pack, read_archive, zip_members
from featx.models.card import ModelCard, make_card
from featx.models.head.checks import check_head_shapes, check_predictions, is_head_of, savable_head
from featx.models.head.head import Head
from featx.models.model import Model
from featx.models.novelty import MAX_ROWS, NoveltyDetector
from featx.models.pipeline_file import dump_pipeline, load_pipeline_data
from featx.models.validation import (
    check_model_path,
    check_number_of_labels,
    split_pipeline,
    validate_pipeline,
    validate_scores,
    validate_training_data,
)
from featx.system.array_types import AnyArray, FloatArray
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error
from featx.system.formatting import first_line
from featx.system.option_checks import as_list, as_path
from featx.system.version import __version__

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from featx.models.fine_tuning.classifier import FineTunedClassifier
    from featx.models.graph import GraphOfModel

_NETWORK_NAME = re.compile(r"[\w. -]{1,100}\.(keras|h5|hdf5|onnx)")
_CARD_FIELDS = {field.name for field in dataclasses.fields(ModelCard)}
_OPTIONS = {field.name for field in dataclasses.fields(ExtractionOptions)}
#: What reading the description of a crafted file may raise.
_INVALID = (KeyError, TypeError, ValueError, EOFError, MemoryError, RecursionError, AttributeError)


def save_pipeline(
    pipeline: Pipeline | FineTunedClassifier,
    path: str | os.PathLike[str],
    *,
    features: Any = None,
    y: Any = None,
    groups: Any = None,
    scores: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    graph: bool = True,
    trusted: Sequence[str] | None = None,
) -> None:
    """Write a fitted pipeline to one file.

    The file is a skops archive with a description and checksums. Loading it executes no code from the file.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline or FineTunedClassifier
        Fitted pipeline whose first step is a :class:`FeatureExtractor` and whose last step is a classifier or
        regressor. Or a fitted :class:`FineTunedClassifier`.
    path : str or Path
        Path of the file, usually with the suffix ``.skops``. An existing model is replaced.
    features : array-like of float of shape (n_samples, n_features) or None, default=None
        Features that the estimator was fitted on. With them, predictions have a novelty score.
    y : array-like of shape (n_samples,) or None, default=None
        Labels of the training images. The number of images of each class becomes part of the model.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each training image, for example a patient. Distances within a group do not count for the novelty
        score. None: near-duplicates form groups, see :func:`find_duplicates`.
    scores : mapping or None, default=None
        Scores of the model, in JSON types, which become part of it.
    notes : sequence of str, default=()
        Notes that become part of the model.
    graph : bool, default=True
        Whether the compiled network becomes part of the model, so that predicting needs no weights, no tensorflow and
        no cache. Engine "keras" and backbones without a network have none.
    trusted : sequence of str or None, default=None
        Types of other libraries that may be part of the file. They must be passed to :func:`read_model` or
        :func:`load_pipeline`, too: loading them may execute code of the file. The error names those that are missing.

    Raises
    ------
    ModelFileError
        The pipeline is not fitted, has other steps, or contains types that would not be trusted when it is loaded;
        or `features`, `y` or `scores` are invalid.
    ComparisonError
        `groups` does not have one value for each row.
    OutputError
        The file cannot be written.

    See Also
    --------
    load_pipeline : Load the pipeline.
    read_model : Read a model and its card.
    train_images : Select, fit and score a pipeline.

    Notes
    -----
    The network of a custom model file (``.keras``, ``.h5``, ``.onnx`` in one file) becomes part of the model. The cache
    folder of the extractor is not saved. Neither is the ``covariance_`` of linear discriminant analysis, which no
    prediction needs.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, Path(folder) / "model.skops")
    ...     loaded = load_pipeline(Path(folder) / "model.skops")
    >>> loaded.set_params(featureextractor__cache=None).predict(images[:1]).tolist()
    ['dark']
    """
    from featx.models.graph import GraphOfModel, make_graph  # imports scikit-learn

    path = Path(as_path("path", path))
    check_model_path(path)
    pipeline = validate_pipeline(pipeline)
    extractor, estimator = split_pipeline(pipeline)
    rows = validate_training_data(features, y, extractor.n_features_out_)
    check_number_of_labels(estimator, _random_rows(extractor.n_features_out_)[:2], y)
    archived = make_graph(extractor) if graph else GraphOfModel()
    card = make_card(
        extractor,
        estimator,
        n_images=0 if rows is None else len(rows),
        y=y,
        scores=validate_scores(scores or {}),
        notes=[str(note) for note in notes],
        graph=archived.card,
    )
    head = savable_head(estimator)
    if head is not None:
        check_predictions(head, estimator, _random_rows(extractor.n_features_out_) if rows is None else rows)
    detector = None if rows is None else _fit_detector(rows, groups)
    data = _pack_model(pipeline, card, head, detector, graph=archived, trusted=_as_types(trusted))
    with as_output_error(path), atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load_pipeline(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = "auto",
    write_cache: bool = False,
    precision: PrecisionName | None = None,
    device: str = "auto",
    allow: Sequence[Kind] | None = None,
    trusted: Sequence[str] | None = None,
) -> Pipeline:
    """Load a pipeline from a model file.

    Parameters
    ----------
    path : str or Path
        File that :func:`save_pipeline` or ``featx train`` wrote.
    cache : str, Path or None, default="auto"
        Path of the feature cache that the pipeline uses; the file does not record one. "auto": ``FEATX_CACHE`` if set,
        else ``./cache``. None: no caching.
    write_cache : bool, default=False
        Whether to add the features of new images to the cache. False: only a network that has to be converted is kept
        there. Features that only the network in the model file has computed are never added: others share the cache.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"} or None, default=None
        Precision of the network. None: as in training. "float32" runs on every CPU; another precision than in
        training slightly changes features and probabilities.
    device : str, default="auto"
        Device that runs the network, see :class:`FeatureExtractor`.
    allow : sequence of {"path", "url", "bytes", "array"} or None, default=None
        Kinds of images to read; others are unreadable, and no file is opened for them. A service that passes on what
        its clients send allows ``("bytes", "array")``. Pillow images count as arrays. None: as in the model.
    trusted : sequence of str or None, default=None
        Types of other libraries to load, as passed to :func:`save_pipeline`. They may execute code of the file.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Fitted pipeline that predicts images.

    Raises
    ------
    ModelFileError
        The file is not a model, is corrupt or modified, has another format, or contains untrusted types.
    RecipeMismatchError, WeightsError, UnknownBackboneError
        This machine cannot reproduce the features that the pipeline was fitted on.

    See Also
    --------
    save_pipeline : Write a pipeline, with an example.
    Predictor : Predict images with a model, without loading scikit-learn.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, load_pipeline, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     loaded = load_pipeline(f"{folder}/model.skops", cache=None)
    >>> loaded.predict(images[:1])
    array(['dark'], dtype='<U5')
    """
    model = read_model(path, trusted=trusted)
    model.resolve(precision=precision, device=device)
    pipeline = model.pipeline
    extractor = pipeline.steps[0][1]
    if model.network is not None:
        extractor._relocate_backbone(_restore_network(model.network))
    extractor._serve_model(model.archived, write_cache=bool(write_cache))
    given = {"precision": precision, "device": device, "allow": check_allow(allow)}
    extractor.set_params(cache=cache, **{name: value for name, value in given.items() if value is not None})
    return pipeline


def read_model(path: str | os.PathLike[str], *, trusted: Sequence[str] | None = None) -> Model:
    """Read a model from a file; scikit-learn is imported only when it is needed.

    Parameters
    ----------
    path : str or Path
        File that :func:`save_pipeline` or ``featx train`` wrote.
    trusted : sequence of str or None, default=None
        Types of other libraries to load, as passed to :func:`save_pipeline`. They may execute code of the file.

    Returns
    -------
    Model
        The model. ``print(model.card)`` shows what it is.

    Raises
    ------
    ModelFileError
        The file is not a model, is corrupt or modified, or has another format.

    See Also
    --------
    load_pipeline : Load the scikit-learn pipeline of a model.
    predict_images : Predict images with a model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, read_model, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     model = read_model(f"{folder}/model.skops")
    >>> model.card.classes, model.card.n_features
    (['dark', 'light'], 512)
    """
    name = as_path("model", path)
    description, members = read_archive(Path(path), name)
    try:
        card = _read_card(name, description["card"])
        archived = _read_graph(card, os.path.realpath(path), description.get("described", ""))
        network = _find_network(description, os.path.realpath(path))
        network_path = "" if network is None else register_network(network)
        if network_path:
            card = dataclasses.replace(card, options={**card.options, "backbone": network_path})
        arrays = {
            member[len(ARRAYS) : -len(".npy")]: np.load(io.BytesIO(content), allow_pickle=False)
            for member, content in members.items()
            if member.startswith(ARRAYS)
        }
        head, detector = _read_head(description, arrays, card), _read_detector(description, arrays, card)
        card.as_text()  # raises if a field is invalid
    except (ModelFileError, StoreError):
        raise
    except _INVALID as error:
        raise corrupt(name, f"its description is invalid: {type(error).__name__}: {first_line(error)}") from error
    own = {member: content for member, content in members.items() if not member.startswith((ARRAYS, NETWORK))}
    load = functools.partial(_load_pipeline, name, own, network_path, card, head, trusted=_as_types(trusted))
    return Model(name, card, head, detector, load, archived, network)


# Writing ------------------------------------------------------------------------------------------------


def _as_types(trusted: Sequence[str] | None) -> list[str]:
    return [] if trusted is None else as_list("trusted", trusted)


def _random_rows(n_features: int) -> FloatArray:
    return np.random.default_rng(0).random((64, n_features), dtype=np.float32)


def _fit_detector(rows: FloatArray, groups: Any) -> NoveltyDetector | None:
    # Predictions do not need these modules.
    from featx.baselines.folds.groups import group_codes
    from featx.features.duplicates.find import find_duplicates

    if groups is not None:
        return NoveltyDetector.fit(rows, group_codes(list(groups), len(rows)))
    if len(rows) > MAX_ROWS:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MAX_ROWS, replace=False))]
    return NoveltyDetector.fit(rows, find_duplicates(rows).groups if len(rows) > 1 else None)


def _pack_model(
    pipeline: Any,
    card: ModelCard,
    head: Head | None,
    detector: NoveltyDetector | None,
    *,
    graph: GraphOfModel,
    trusted: Sequence[str],
) -> bytes:
    members, network = dump_pipeline(pipeline, trusted, is_described=bool(graph.network))
    network_descriptions: dict[str, Any] = {}
    if network is not None:
        members[f"{NETWORK}{network[0]}"] = network[1]
        extractor = pipeline.steps[0][1]
        network_descriptions = describe_for_models(os.fspath(extractor.backbone), tuple(card.recipe["image_size"]))
    description, arrays = (None, {}) if head is None else head.as_arrays()
    for name, array in arrays.items():
        members[f"{ARRAYS}{name}.npy"] = _as_npy(array.astype(np.float32))
    if detector is not None:
        members[f"{TRAINING_ROWS}.npy"] = _as_npy(detector.rows)
    threshold = None if detector is None else detector.threshold
    fields = {"card": dataclasses.asdict(card), "head": description, "novelty_threshold": threshold}
    return pack(members, {**fields, "network": network_descriptions, "described": graph.network}, graph.members)


def _as_npy(array: AnyArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


# Reading ------------------------------------------------------------------------------------------------


def _read_card(name: str, fields: Mapping[str, Any]) -> ModelCard:
    """Return a card; fields that a later version added are ignored, options that it added are an error."""
    card = ModelCard(**{key: value for key, value in fields.items() if key in _CARD_FIELDS})
    try:
        check_allow(card.allow)
    except OptionError as error:
        raise corrupt(name, f"its description is invalid: {error}") from error
    if unknown := sorted(set(card.options) - _OPTIONS):
        raise ModelFileError(
            f"Cannot load model {name!r}: this version of featx ({__version__}) does not support its options "
            f"{', '.join(unknown)}. Install featx {card.versions.get('featx')}."
        )
    return card


def _read_graph(card: ModelCard, path: str, network: str) -> ArchivedGraph | None:
    """Return the graph in the file at a path, of a network that the file describes."""
    if not card.graph:
        return None
    if network:
        DescribedNetwork.from_text(network)  # raises an error of a crafted file
    return ArchivedGraph.from_dict(card.graph, path, network)


def _find_network(description: Mapping[str, Any], path: str) -> ArchivedNetwork | None:
    """Return the custom model file in the model at a path; None without one."""
    for member, digest in description["files"].items():
        if member.startswith(NETWORK):
            if not _NETWORK_NAME.fullmatch(member[len(NETWORK) :]):
                raise ValueError(f"a network named {member!r}")
            return ArchivedNetwork(path, member, digest, description.get("network", {}))
    return None


def _restore_network(network: ArchivedNetwork) -> str:
    """Return the path of the network of a model on disk, where the workers of joblib find it, too."""
    try:
        return str(network.restore())
    except (StoreError, ResourceError) as error:  # the graph in the model may be enough
        warnings.warn(
            f"The network of model {network.model!r} is not available to other processes: {error}",
            FeatxWarning,
            stacklevel=3,
        )
        return network.path


def _read_head(description: Mapping[str, Any], arrays: Mapping[str, AnyArray], card: ModelCard) -> Head | None:
    if description["head"] is None:
        return None
    head = Head.from_arrays(description["head"], arrays)
    check_head_shapes(head, card.n_features, card.classes)
    return head


def _read_detector(
    description: Mapping[str, Any], arrays: Mapping[str, AnyArray], card: ModelCard
) -> NoveltyDetector | None:
    if description["novelty_threshold"] is None:
        return None
    detector = NoveltyDetector(arrays["training"], float(description["novelty_threshold"]))
    detector.check(card.n_features)
    return detector


def _load_pipeline(
    name: str,
    members: Mapping[str, bytes],
    network: str,
    card: ModelCard,
    head: Head | None,
    *,
    trusted: Sequence[str],
) -> Pipeline:
    pipeline = load_pipeline_data(name, zip_members(members), network, card, trusted)
    if head is not None and not is_head_of(head, pipeline[1:]):
        raise corrupt(name, "its head is not that of its scikit-learn pipeline")
    return pipeline
