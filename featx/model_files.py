"""A fitted pipeline in one file that runs no code when it is read: skops's format, and beside it what it was made of.

The file is an uncompressed zip archive: what skops writes (``schema.json`` and ``.npy`` files), ``featx.json`` (what
the model is, and the SHA-256 of every other file), and below ``featx/`` arrays by which predictions need no
scikit-learn.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx import __version__, files
from featx.backbones.kept_models import keep_file
from featx.backbones.own import own_file
from featx.duplicates import find_duplicates
from featx.errors import ExportError, ModelFileError, OutputError, StoreError
from featx.familiarity import MOST_ROWS, Familiarity
from featx.fitted_heads import as_head
from featx.heads import Head
from featx.models import Card, Model, card_of, portable_options
from featx.options import ExtractionOptions
from featx.splits import group_codes

#: Raised when the file is laid out otherwise.
FORMAT = 1
_OURS = "featx.json"
_ARRAYS, _NETWORK = "featx/", "featx-network/"
#: What skops may make besides scikit-learn's own, numpy's and scipy's.
_TRUSTED = (
    "featx.estimators._of_length_one",
    "featx.transformer.FeatureExtractor",
    "sklearn.calibration._CalibratedClassifier",  # two arrays and an estimator
    "sklearn.calibration._SigmoidCalibration",  # two numbers
)
_NETWORK_NAME = re.compile(r"[\w. -]{1,100}\.(keras|h5|hdf5|onnx)")
_OF_CARD = {field.name for field in dataclasses.fields(Card)}
_OF_EXTRACTION = {field.name for field in dataclasses.fields(ExtractionOptions)}
#: A head with more numbers is left to scikit-learn: it would double the size of the file.
_MOST_OF_HEAD = 10_000_000


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
        :class:`featx.FineTunedClassifier`. A network in one file of the user's own becomes part of the model.
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
        It is no such pipeline, not fitted, or made of parts that would not be trusted when it is read.
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    check_model_path(path)
    if hasattr(pipeline, "as_pipeline"):  # a fine-tuned network
        pipeline = pipeline.as_pipeline()
    extractor, estimator = _parts(pipeline)
    rows = None if features is None else np.asarray(features, dtype=np.float32)
    n_images = 0 if rows is None else len(rows)
    card = card_of(extractor, estimator, n_images=n_images, y=y, scores=scores or {}, notes=notes)
    head = _head_of(estimator)
    if head is not None:
        n_features = extractor.n_features_out_
        _check_head(head, estimator, np.random.default_rng(0).random((64, n_features)) if rows is None else rows)
    familiarity = None if rows is None else _familiarity(rows, groups)
    data = _packed(pipeline, card, head, familiarity)
    try:
        with files.replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise OutputError(
            f"The model cannot be written to {str(path)!r}: {error.strerror or error}. Choose another file, or make "
            "room there."
        ) from error


def _familiarity(rows: np.ndarray[Any, Any], groups: Any) -> Familiarity | None:
    if groups is not None:
        return Familiarity.of(rows, group_codes(list(groups), len(rows)))
    if len(rows) > MOST_ROWS:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False))]
    return Familiarity.of(rows, find_duplicates(rows).groups if len(rows) > 1 else None)


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
    pipeline = model.pipeline
    classes = np.asarray(getattr(pipeline, "classes_", [])).tolist()
    extractor = pipeline.steps[0][1]
    is_described = extractor.recipe_ == model.card.recipe and portable_options(extractor) == model.card.options
    if not is_described or classes != model.card.classes:
        raise _damaged(model.path, "its description is that of another pipeline")
    return pipeline


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
    try:
        with files.open_regular(Path(path).resolve()) as file:
            if not zipfile.is_zipfile(file):
                raise ModelFileError(
                    f"{name!r} is no model of featx: it is no archive, or cut off. `featx train` writes one."
                )
            file.seek(0)
            data = file.readall() or b""
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{name!r} is no model of featx: {error}. `featx train` writes one.") from error
    except OSError as error:
        raise ModelFileError(
            f"The model {name!r} cannot be read: {error.strerror or error}. `featx train PHOTOS -o {name}` writes one."
        ) from error
    members = _members(name, data)
    try:
        found = json.loads(members[_OURS])
        card = Card(**{name: value for name, value in found["card"].items() if name in _OF_CARD})
        if unknown := sorted(set(card.options) - _OF_EXTRACTION):
            raise ModelFileError(
                f"{name!r} was written by featx {card.versions.get('featx')}, of whose options {__version__} does not "
                f"know {', '.join(unknown)}. Install that version."
            )
        network = _kept_network(members)
        if network:
            card = dataclasses.replace(card, options={**card.options, "backbone": network})
        arrays = {
            member[len(_ARRAYS) : -len(".npy")]: np.load(io.BytesIO(content), allow_pickle=False)
            for member, content in members.items()
            if member.startswith(_ARRAYS)
        }
        head = None if found["head"] is None else Head.from_arrays(found["head"], arrays)
        usual = found["usual"]
        familiarity = None if usual is None else Familiarity(arrays["training"], float(usual))
        if usual is not None and not 0 < float(usual) < 3:
            raise ValueError(f"a usual distance of {usual}")
        if head is not None:
            _check_shapes(head, card)
    except (ModelFileError, StoreError):
        raise
    except (KeyError, TypeError, ValueError, EOFError, MemoryError, RecursionError, AttributeError) as error:
        raise _damaged(name, f"its description cannot be understood: {error!r}") from error
    return Model(name, card, head, familiarity, functools.partial(_unpacked, name, data, network))


def _check_shapes(head: Head, card: Card) -> None:
    """Raise ValueError if a head does not take this model's features, or gives no scores of its classes."""
    scores, shares = head(np.zeros((1, card.n_features)))
    n_classes = len(card.classes) or 1
    is_fine = scores.shape[1] in ({n_classes} if n_classes != 2 else {1, 2})
    if not np.isfinite(scores).all():
        raise ValueError("its arrays hold numbers that are none")
    if not is_fine or (shares is not None and shares.shape[1] != n_classes) or (head.classes or []) != card.classes:
        raise ValueError("its arrays do not fit its classes")


def _kept_network(members: Mapping[str, bytes]) -> str:
    """Return the path of the network that a model brings along, "" if it brings none."""
    for name, content in members.items():
        if name.startswith(_NETWORK):
            if not _NETWORK_NAME.fullmatch(name[len(_NETWORK) :]):
                raise ValueError(f"a network named {name!r}")
            return str(keep_file(content, os.path.basename(name)))
    return ""


def check_model_path(path: Path) -> None:
    """Raise if a model cannot be written here, or would replace what is none.

    Raises
    ------
    OutputError
    """
    why = ""
    if path.is_dir():
        why = "it is a folder"
    elif path.exists() and not path.is_file():
        why = "it is a device or a pipe, which would be replaced by a file"
    elif path.is_file() and path.stat().st_size and not _is_model(path):
        why = "there is a file that featx has not written, and would be replaced"
    elif reason := files.why_not_writable(path.parent):
        why = f"its folder: {reason}"
    if why:
        raise OutputError(f"{str(path)!r} cannot be written: {why}. Choose another file.")


def _is_model(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as packed:
            return _OURS in packed.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _parts(pipeline: Any) -> tuple[Any, Any]:
    """Return the extractor, and what follows it as a pipeline."""
    from featx.transformer import FeatureExtractor

    steps = getattr(pipeline, "steps", None)
    if not steps or len(steps) < 2 or not isinstance(steps[0][1], FeatureExtractor):
        raise ModelFileError(
            f"{type(pipeline).__name__} cannot be saved as a model: expected a Pipeline whose first step is a "
            "FeatureExtractor, and whose last is a classifier or regressor."
        )
    extractor, estimator = steps[0][1], pipeline[1:]
    if not hasattr(extractor, "recipe_") or not hasattr(estimator, "predict"):
        raise ModelFileError("This Pipeline cannot be saved as a model: it is not fitted, or predicts nothing. Fit it.")
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(steps[-1][1])
    except NotFittedError as error:
        raise ModelFileError("This Pipeline cannot be saved as a model: it is not fitted. Fit it.") from error
    if not isinstance(extractor.backbone, str | os.PathLike):
        raise ModelFileError(
            "The network of this Pipeline is an object, which the model could not find again. Save it "
            "(network.save('network.keras')), and fit the Pipeline with its path."
        )
    return extractor, estimator


def _head_of(estimator: Any) -> Head | None:
    try:
        head = as_head(estimator)
    except ExportError:  # scikit-learn will run it
        return None
    return head if sum(array.size for array in head.as_arrays()[1].values()) <= _MOST_OF_HEAD else None


def _check_head(head: Head, estimator: Any, rows: np.ndarray[Any, Any]) -> None:
    """Raise if a head decides otherwise than what it was made of."""
    some = rows[:: max(1, len(rows) // 200)]
    scores, _ = head(some)
    said = np.asarray(estimator.predict(some))
    largest = max(1e-9, float(np.abs(scores).max()))
    if head.classes is None:
        agrees = np.allclose(scores[:, 0], said, rtol=1e-3, atol=1e-3 * largest)
    else:
        own = np.array([head.classes[at] for at in head.positions(scores)], dtype=object)
        top = np.sort(np.abs(scores) if scores.shape[1] == 1 else scores, axis=1)
        lead = top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0)
        agrees = bool((own == said.astype(object))[lead > 1e-4 * largest].all())  # elsewhere, rounding decides
    if not agrees:
        raise ModelFileError(
            "The model decides otherwise once it is written than before. Please report this, with the estimator: "
            f"{estimator!r}"
        )


def _packed(pipeline: Any, card: Card, head: Head | None, familiarity: Familiarity | None) -> bytes:
    import skops.io
    from sklearn.base import clone

    # Where rows are kept is a matter of each machine, and no part of a model.
    extractor = pipeline.steps[0][1]
    portable = clone(extractor).set_params(cache="auto", verbose=False)
    portable._pin = extractor._pin
    network = own_file(os.fspath(extractor.backbone))
    if network is not None:
        portable.rename_backbone(network[0])
    try:
        data = skops.io.dumps(type(pipeline)([(pipeline.steps[0][0], portable), *pipeline.steps[1:]]))
    except Exception as error:  # skops tells of what it cannot write by anything
        raise ModelFileError(
            f"This Pipeline cannot be saved: skops says {error}. Use estimators of its kind."
        ) from error
    _refuse_strangers(data)
    described, arrays = (None, {}) if head is None else head.as_arrays()
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    if familiarity is not None:
        arrays["training"] = familiarity.rows
    members = {info: _member(data, info) for info in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    if network is not None:
        members[f"{_NETWORK}{network[0]}"] = network[1]
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        members[f"{_ARRAYS}{name}.npy"] = buffer.getvalue()
    ours = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
        "card": dataclasses.asdict(card),
        "head": described,
        "usual": None if familiarity is None else familiarity.usual,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(_OURS, json.dumps({**ours, "checksum": _checksum(ours)}))
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def check_can_be_saved(estimator: Any, task: str) -> None:
    """Raise if an unfitted estimator will be of no use in a model, once it is fitted.

    Raises
    ------
    ModelFileError
    """
    import skops.io

    rng = np.random.default_rng(0)
    y = np.arange(12) % 2
    try:
        data = skops.io.dumps(estimator.fit(rng.random((12, 4)), y if task == "classification" else y + rng.random(12)))
    except Exception:  # whatever is wrong with it, fitting it on the images will tell
        return
    _refuse_strangers(data)


def _refuse_strangers(data: bytes) -> None:
    import skops.io

    if strangers := sorted(set(skops.io.get_untrusted_types(data=data)) - set(_TRUSTED)):
        raise ModelFileError(
            f"This cannot be saved as a model: {', '.join(strangers)} would not be trusted when it is read, as files "
            "can be made to do harm by it. Use one of featx's estimators, or another linear one of scikit-learn."
        )


def _checksum(ours: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a description: it tells of changes, but is no signature."""
    rest = {name: value for name, value in ours.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def _members(name: str, data: bytes) -> dict[str, bytes]:
    """Return the files of the archive, all of them as they were written."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            listed = [info.filename for info in infos]
            if _OURS not in listed:
                raise ModelFileError(
                    f"{name!r} is no model of featx: it has no {_OURS}. If it is a file of skops's own, load it with "
                    "skops.io.load, and write it with featx.save_pipeline."
                )
            if len(set(listed)) < len(listed) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise _damaged(name, "its parts are doubled, or compressed")
            members = {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{name!r} is no model of featx, or damaged: {error}. Train it anew.") from error
    try:
        ours = json.loads(members[_OURS])
        version, digests = ours["format"], dict(ours["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(name, f"its {_OURS} cannot be understood") from error
    if version != FORMAT:
        raise ModelFileError(
            f"{name!r} is a model of format {version}, and this featx ({__version__}) knows format {FORMAT}. Install "
            "the featx that wrote it, or train it anew."
        )
    if ours.get("checksum") != _checksum(ours):
        raise _damaged(name, f"its {_OURS} is not what was written")
    found = {member: hashlib.sha256(content).hexdigest() for member, content in members.items() if member != _OURS}
    if found != digests:
        wrong = sorted(member for member in {**found, **digests} if found.get(member) != digests.get(member))
        raise _damaged(name, f"{wrong[0]} is not what was written")
    return members


def _damaged(name: str, reason: str) -> ModelFileError:
    return ModelFileError(f"The model {name!r} is damaged, or was altered: {reason}. Take a copy, or train it anew.")


def _unpacked(name: str, data: bytes, network: str) -> Any:
    import skops.io
    from sklearn.pipeline import Pipeline

    try:
        strangers = sorted(set(skops.io.get_untrusted_types(data=data)) - set(_TRUSTED))
        if strangers:
            raise ModelFileError(
                f"The model {name!r} holds {', '.join(strangers)}, which could run anything on this machine, and is "
                "refused. Get it from whom you trust, or train it anew."
            )
        pipeline = skops.io.loads(data, trusted=list(_TRUSTED))
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # whatever skops makes of what somebody wrote
        raise _damaged(name, f"skops cannot read it ({error})") from error
    if not isinstance(pipeline, Pipeline) or not hasattr(pipeline.steps[0][1], "recipe_"):
        raise _damaged(name, f"it holds {type(pipeline).__name__} where a Pipeline was expected")
    pipeline.steps[0][1].set_params(cache="auto")
    if network:
        pipeline.steps[0][1].rename_backbone(network)
    return pipeline
