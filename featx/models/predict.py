"""Predict labels of images with a model in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from featx.datasets.image_table import ImagesLike
from featx.extraction.engines.engine import PrecisionName
from featx.images.image import Kind
from featx.models.model import Model
from featx.models.predictor import Predictor
from featx.store.view_store import write_buffers
from featx.system.terminal.progress import ProgressFunction, reporting

if TYPE_CHECKING:
    import pandas as pd


def predict_images(
    model: Model | str | os.PathLike[str],
    images: ImagesLike,
    *,
    top: int = 1,
    threshold: float | Mapping[str, float] | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    write_cache: bool = False,
    max_pixels: int | None = None,
    on_truncated: Literal["raise", "pad"] | None = None,
    precision: PrecisionName | None = None,
    device: str = "auto",
    allow: Sequence[Kind] | None = None,
    batch_size: int | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> pd.DataFrame:
    """Predict labels of images with a model.

    Parameters
    ----------
    model : str, Path or Model
        File that ``featx train`` or :func:`save_pipeline` wrote, or the model that :func:`read_model` returned.
    images : sequence of images
        List, array, Series, iterable, one-column DataFrame or ImageTable; see :meth:`FeatureExtractor.transform`.
    top : int, default=1
        Number of classes to return for each image, the most probable first. At most the number of classes.
    threshold : float, mapping of str to float or None, default=None
        Minimum probability of the predicted class. Below it, no label is predicted. For a model of tags: minimum of
        each tag, or of the tags in a mapping and 0.5 of the others. None: no minimum, and 0.5 for tags.
    cache : str, Path or None, default="auto"
        Path of the feature cache; see :class:`FeatureExtractor`. None: no caching.
    write_cache : bool, default=False
        Whether to add the features of new images to the cache. False: only a network that has to be converted is kept
        there. Features that only the network in the model file has computed are never added: others share the cache.
    max_pixels : int or None, default=None
        Maximum number of pixels of an image. None: as in training.
    on_truncated : {"raise", "pad"} or None, default=None
        How to handle images whose file ends too early. None: as in training.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"} or None, default=None
        Precision of the network. None: as in training. "float32" runs on every CPU; another precision than in
        training slightly changes features and probabilities.
    device : str, default="auto"
        Device that runs the network, see :class:`FeatureExtractor`.
    allow : sequence of {"path", "url", "bytes", "array"} or None, default=None
        Kinds of images to read; others are unreadable, and no file is opened for them. A service that passes on what
        its clients send allows ``("bytes", "array")``. Pillow images count as arrays. None: as in the model.
    batch_size : int or None, default=None
        Number of images that the network processes at a time. None: the default of :class:`FeatureExtractor`.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    pandas.DataFrame
        One row for each image; see :meth:`Predictor.predict` for its columns.

    Raises
    ------
    ModelFileError
        The file is not a model, is corrupt or modified, or has another format.
    OptionError
        A parameter has an invalid value, or `threshold` is set and the model has no probabilities.
    InputError
        `images` is not a collection of images.
    RecipeMismatchError, WeightsError, UnknownBackboneError
        This machine cannot reproduce the features that the model was fitted on.

    See Also
    --------
    Predictor : The same for repeated predictions with one model.
    explain_images : Draw attribution maps of predictions.
    train_images : Train a model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, predict_images, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     predictions = predict_images(f"{folder}/model.skops", images[:1], cache=None)
    >>> predictions[["label", "probability"]].round(2)
      label  probability
    0  dark         0.66
    """
    with reporting(verbose, progress):
        predictor = Predictor(
            model,
            top=top,
            threshold=threshold,
            cache=cache,
            write_cache=write_cache,
            max_pixels=max_pixels,
            on_truncated=on_truncated,
            precision=precision,
            device=device,
            allow=allow,
            batch_size=batch_size,
        )
        table = predictor.predict(images)
        write_buffers()
        return table
