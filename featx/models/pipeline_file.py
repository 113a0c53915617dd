"""The pipeline of a model as skops data, of which only trusted types are loaded."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.files.network_file import read_model_file
from featx.errors import ModelFileError, OptionError
from featx.extraction.recorded import portable_options
from featx.images.image import check_allow
from featx.models.archive import corrupt, unzip
from featx.models.card import ModelCard
from featx.system.formatting import first_line, format_list
from featx.system.threads import hidden_modules
from featx.system.version import __version__

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: Types and functions that are loaded besides those that skops trusts: parts of scikit-learn, numpy and scipy.
TRUSTED_TYPES = (
    "featx.scale_to_unit_length",
    "featx.FeatureExtractor",
    "featx.LabelEncodedClassifier",
    "featx.TagClassifier",
    "sklearn.calibration._CalibratedClassifier",  # two arrays and an estimator
    "sklearn.calibration._SigmoidCalibration",  # two numbers
)
#: scikit-learn's adapters of these import them. torch alone takes seconds and half a gigabyte.
_UNUSED = ("torch", "cupy", "jax", "dask")
#: What to do about a pipeline that is not saved as a model.
_OTHER_FORMATS = (
    "Use a baseline of featx or a linear estimator of scikit-learn; or save the pipeline of train_images with "
    'joblib.dump or mlflow.sklearn.log_model (with serialization_format="cloudpickle"), whose files execute code when '
    "they are loaded."
)


def import_skops() -> Any:
    """Return the module ``skops.io``. While it is imported, unused libraries cannot be imported."""
    with hidden_modules("skops.io", _UNUSED):
        import skops.io
    return skops.io


def dump_pipeline(
    pipeline: Pipeline, trusted: Collection[str] = (), *, is_described: bool = False
) -> tuple[dict[str, bytes], tuple[str, bytes] | None]:
    """Return a fitted pipeline as the files of a skops archive, and the network that belongs to it.

    Parameters of one machine (``cache``, ``verbose``) are not part of it.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
    trusted : collection of str, default=()
        Types that may be part of it besides :data:`TRUSTED_TYPES`.
    is_described : bool, default=False
        Whether the model describes the network, so that its file is not needed.

    Returns
    -------
    members : dict of str to bytes
    network : (str, bytes) or None
        Name and content of the custom model file that the extractor uses, if it is a single file.

    Raises
    ------
    ModelFileError
        The pipeline cannot be written, or would not be trusted when it is loaded.
    """
    from sklearn.base import clone

    name, extractor = pipeline.steps[0]
    portable = clone(extractor).set_params(cache="auto", verbose=None, allow=check_allow(extractor.allow))
    # skops trusts no class of paths.
    paths = {name: getattr(portable, name) for name in ("backbone", "weights")}
    portable.set_params(**{name: os.fspath(path) for name, path in paths.items() if isinstance(path, os.PathLike)})
    portable.recipe_, portable.fitted_params_ = extractor.recipe_, extractor.fitted_params_
    network = None if is_described else read_model_file(os.fspath(extractor.backbone))
    if network is not None:
        portable._relocate_backbone(network[0])
    steps = without_covariance(pipeline[1:]).steps
    try:
        data = import_skops().dumps(type(pipeline)([(name, portable), *steps]))
    except Exception as error:  # skops raises errors of many types
        raise ModelFileError(
            f"Cannot save this pipeline as a model: skops cannot write it ({first_line(error)}). {_OTHER_FORMATS}"
        ) from error
    check_trusted(data, trusted)
    return unzip(data), network


def load_pipeline_data(
    name: str, data: bytes, network: str, card: ModelCard, trusted: Collection[str] = ()
) -> Pipeline:
    """Return the pipeline of a model.

    Parameters
    ----------
    name : str
        Name of the model, for errors.
    data : bytes
        The archive.
    network : str
        Path of the network that belongs to the model, or "".
    card : ModelCard
        Description that the pipeline must have.
    trusted : collection of str, default=()
        Types that are loaded besides :data:`TRUSTED_TYPES`.

    Raises
    ------
    ModelFileError
        The pipeline cannot be loaded, is not trusted, or is not what the card describes.
    """
    from sklearn.pipeline import Pipeline

    try:
        if types := untrusted_types(data, trusted):
            raise ModelFileError(
                f"Cannot load model {name!r}: it contains untrusted types ({format_list(types)}) that could execute "
                "code. Get the file from a trusted source, or train the model again. If you trust this file and these "
                f"types, read it in Python, with trusted={[*trusted, *types]}."
            )
        pipeline = import_skops().loads(data, trusted=[*TRUSTED_TYPES, *trusted])
    except (ModelFileError, MemoryError):
        raise
    except Exception as error:  # skops raises errors of many types
        raise corrupt(name, f"skops cannot read it ({first_line(error)})") from error
    if not isinstance(pipeline, Pipeline) or not hasattr(pipeline.steps[0][1], "recipe_"):
        raise corrupt(name, f"expected a Pipeline, got {type(pipeline).__name__}")
    extractor = pipeline.steps[0][1]
    extractor.set_params(cache="auto")
    if not isinstance(getattr(extractor, "fitted_params_", None), dict):
        raise corrupt(name, "its FeatureExtractor is not fitted")
    if network:
        extractor._relocate_backbone(network)
    classes = np.asarray(getattr(pipeline, "classes_", [])).tolist()
    described = (
        ("recipe", card.recipe, extractor.recipe_),
        ("options", card.options, portable_options(extractor)),
        ("classes", card.classes, classes),
        ("allow", _as_kinds(card.allow), _as_kinds(extractor.allow)),
    )
    if differing := [part for part, in_card, in_pipeline in described if in_card != in_pipeline]:
        raise corrupt(
            name,
            f"its description has other {' and '.join(differing)} than its pipeline (written by featx "
            f"{card.versions.get('featx')}, read by featx {__version__})",
        )
    return pipeline


def _as_kinds(allow: Any) -> Any:
    """Return allowed kinds of images in the order of featx; anything else as it is."""
    try:
        return check_allow(allow)
    except OptionError:
        return allow


def check_savable(estimator: Any, task: str) -> None:
    """Raise an error if an unfitted estimator could not be loaded from a model once it is fitted.

    It is fitted on a few random rows.

    Raises
    ------
    ModelFileError
    """
    rng = np.random.default_rng(0)
    y = np.arange(12) % 2
    try:
        data = import_skops().dumps(
            estimator.fit(rng.random((12, 4)), y if task == "classification" else y + rng.random(12))
        )
    except Exception:  # an estimator that fails here reports its error when it is fitted on the images
        return
    check_trusted(data)


def check_trusted(data: bytes, trusted: Collection[str] = ()) -> None:
    """Raise an error if skops data contains types that would not be loaded, besides those that the user trusts.

    Raises
    ------
    ModelFileError
    """
    if types := untrusted_types(data, trusted):
        raise ModelFileError(
            f"Cannot save this pipeline as a model: it contains untrusted types ({', '.join(types)}), which are not "
            f"loaded from files because they could execute code. {_OTHER_FORMATS} Or save it in Python, with "
            f"trusted={[*trusted, *types]}, which read_model and load_pipeline need, too."
        )


def untrusted_types(data: bytes, trusted: Collection[str] = ()) -> list[str]:
    """Return the names of types and functions in skops data that are not trusted."""
    return sorted(set(import_skops().get_untrusted_types(data=data)) - {*TRUSTED_TYPES, *trusted})


def without_covariance(estimator: Any) -> Any:
    """Return an estimator without the ``covariance_`` of linear discriminant analysis, which no prediction needs.

    It has n_features² numbers: 8 MB for 1,024 features.
    """
    if type(estimator).__name__ == "LinearDiscriminantAnalysis" and not estimator.store_covariance:
        estimator = copy.copy(estimator)
        vars(estimator).pop("covariance_", None)
    elif hasattr(estimator, "steps"):
        estimator = type(estimator)([(name, without_covariance(step)) for name, step in estimator.steps])
    elif hasattr(estimator, "calibrated_classifiers_"):
        estimator = copy.copy(estimator)
        parts = [copy.copy(part) for part in estimator.calibrated_classifiers_]
        for part in parts:
            part.estimator = without_covariance(part.estimator)
        estimator.calibrated_classifiers_ = parts
    return estimator
