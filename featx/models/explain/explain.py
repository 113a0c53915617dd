"""Compute and draw attribution maps of images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from featx.datasets.failures import without_advice
from featx.datasets.image_table import ImagesLike
from featx.datasets.tables.streams import as_images
from featx.errors import UnreadableImageError
from featx.extraction.engines.engine import PrecisionName
from featx.images.image import Kind, describe_image, restrict
from featx.models.explain.activation_maps import decode_pixels
from featx.models.explain.explainer import Explainer
from featx.models.explain.explanation import Explanation
from featx.models.explain.map_files import MapWriter
from featx.models.model import Model
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage


def explain_images(
    model: Model | str | os.PathLike[str],
    images: ImagesLike,
    *,
    label: Any = None,
    method: Literal["auto", "activation", "occlusion"] = "auto",
    output: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    max_pixels: int | None = None,
    on_truncated: Literal["raise", "pad"] | None = None,
    precision: PrecisionName | None = None,
    device: str = "auto",
    allow: Sequence[Kind] | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> list[Explanation]:
    """Compute attribution maps: which parts of images a prediction is based on.

    Parameters
    ----------
    model : str, Path or Model
        File that ``featx train`` or :func:`save_pipeline` wrote, or the model that :func:`read_model` returned.
    images : sequence of images
        List, array, Series, iterable, one-column DataFrame or ImageTable; see :meth:`FeatureExtractor.transform`.
    label : str, int, float, bool or None, default=None
        Class to explain. None: the predicted class.
    method : {"auto", "activation", "occlusion"}, default="auto"
        How to compute the maps.

        - "activation": class activation map [1]_. Exact for linear estimators on average-pooled features: the score
          is the mean of the map.
        - "occlusion": decrease of the score when a gray square covers part of the image [2]_. For any model.
        - "auto": "activation" if the model supports it, otherwise "occlusion".
    output : str, Path or None, default=None
        Path of a folder for PNG files with the image and its map. None: no files.
    cache : str, Path or None, default="auto"
        Path of the feature cache, which holds compiled networks; see :class:`FeatureExtractor`.
    max_pixels : int or None, default=None
        Maximum number of pixels of an image. None: as in training.
    on_truncated : {"raise", "pad"} or None, default=None
        How to handle images whose file ends too early. None: as in training.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"} or None, default=None
        Precision of the network. None: as in training. "float32" runs on every CPU; another precision than in
        training changes the features, and so scores, slightly.
    device : str, default="auto"
        Device that runs the network, see :class:`FeatureExtractor`.
    allow : sequence of {"path", "url", "bytes", "array"} or None, default=None
        Kinds of images to read; others are unreadable, and no file is opened for them. A service that passes on what
        its clients send allows ``("bytes", "array")``. Pillow images count as arrays. None: as in the model.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    list of Explanation
        One for each image. Unreadable images have no attribution, and an error text.

    Raises
    ------
    OptionError
        The model has no such class, or does not support the method.
    InputError
        `images` is not a collection of images.
    OutputError
        A file cannot be written.
    ModelFileError, RecipeMismatchError, WeightsError
        The model cannot be used.

    See Also
    --------
    predict_images : Predict labels of images.
    export_model : Export a model as a network.

    Notes
    -----
    A map shows what the model uses, which may be the background. It does not show whether the prediction is correct.
    Activation maps of a calibrated classifier explain the scores before the calibration of each class.

    References
    ----------
    .. [1] B. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016,
           https://arxiv.org/abs/1512.04150
    .. [2] M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
           https://arxiv.org/abs/1311.2901

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, explain_images, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     PIL.Image.fromarray(images[0]).save(f"{folder}/photo.png")
    ...     (explanation,) = explain_images(
    ...         f"{folder}/model.skops", [f"{folder}/photo.png"], output=f"{folder}/maps", cache=None
    ...     )
    >>> explanation.attribution.label, explanation.attribution.method, explanation.attribution.map.shape
    ('dark', 'occlusion', (8, 8))
    >>> os.path.basename(explanation.file)
    'photo.dark.attribution.png'
    """
    writer = None if output is None else MapWriter(Path(output))
    explainer = Explainer(
        model,
        method=method,
        cache=cache,
        max_pixels=max_pixels,
        on_truncated=on_truncated,
        precision=precision,
        device=device,
        allow=allow,
    )
    images = as_images(images)
    with reporting(verbose, progress), stage("explain", len(images)) as advance:
        return list(counted(explain_each(explainer, images, label=label, writer=writer), advance))


def explain_each(
    explainer: Explainer, images: Sequence[Any], *, label: Any, writer: MapWriter | None
) -> Iterator[Explanation]:
    """Yield the explanation of each image, and write its file."""
    for image in restrict(images, explainer.allow):
        path = describe_image(image)
        try:
            pixels = decode_pixels(image, explainer.resolved)
        except UnreadableImageError as error:
            yield Explanation(path, None, without_advice(error.reason))
            continue
        attribution = explainer.explain(pixels, label)
        file = "" if writer is None else writer.write(path, attribution)
        yield Explanation(path, attribution, file=file)
