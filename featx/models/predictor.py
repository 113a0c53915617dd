"""A model that predicts image after image, with probabilities and novelty scores, for several threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.datasets.image_table import ImagesLike
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.streams import read_stream
from featx.errors import missing_dependency
from featx.extraction.engines.engine import Engine, PrecisionName
from featx.extraction.extract import SMALL_CALL, compute_read_images, extract_into, read_first
from featx.extraction.ledger import Ledger
from featx.extraction.options import resolve_cache
from featx.extraction.prefetch import ReadImage
from featx.images.decode import load_decoders
from featx.images.image import Image, Kind, check_allow, describe_image, is_remote_image, restrict
from featx.images.image_lists import as_image_list, is_stream
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.models.prediction import Prediction
from featx.models.row_predictor import RowPredictor, check_thresholds
from featx.system.array_types import FloatArray
from featx.system.formatting import format_count
from featx.system.shared_calls import SharedCalls
from featx.system.terminal.progress import ProgressFunction, reporting, stage

if TYPE_CHECKING:
    import pandas as pd

#: Number of images from which a note states that their features were not kept.
MANY_COMPUTED = 1000


class Predictor:
    """Predict images with a model, call after call.

    Reads and checks the model once. Use it instead of :func:`predict_images` for repeated predictions with one model.

    Parameters
    ----------
    model : str, Path or Model
        File that ``featx train`` or :func:`save_pipeline` wrote, or the model that :func:`read_model` returned.
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

    Attributes
    ----------
    model : Model
    format : PredictionFormat
        Columns of the table, and its rows as CSV or JSON.

    Raises
    ------
    ModelFileError
        The file is not a model, is corrupt or modified, or has another format.
    OptionError
        A parameter has an invalid value, or `threshold` is set and the model has no probabilities.
    RecipeMismatchError, WeightsError, UnknownBackboneError
        This machine cannot reproduce the features that the model was fitted on.

    See Also
    --------
    predict_images : Predict images once.
    load_pipeline : Load the model as a scikit-learn pipeline.
    explain_images : Draw attribution maps of predictions.

    Notes
    -----
    Models of common estimators predict without scikit-learn; see ``Model.head``. Threads may share a predictor. In
    calls with fewer than 64 images, each thread reads and decodes its own; then the network runs for all that wait.
    With `write_cache`, features of such calls are written together: when they reach 16 MB, after 30 seconds, and when
    the process ends; a kill loses those of the last 30 seconds. Copies and pickles hold the model and the options; a
    copy in the same process uses the same started network.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, Predictor, save_pipeline
    >>> images = np.zeros((4, 8, 8, 3), dtype="uint8")
    >>> images[2:] = 255
    >>> extractor = FeatureExtractor("color_histogram", image_size=8, cache=None)
    >>> pipeline = make_pipeline(extractor, LogisticRegression()).fit(images, ["dark", "dark", "light", "light"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pipeline(pipeline, f"{folder}/model.skops")
    ...     predictor = Predictor(f"{folder}/model.skops", top=2, cache=None)
    >>> predictor.predict(images[:1])[["label", "probability", "label_2", "probability_2"]].round(2)
      label  probability label_2  probability_2
    0  dark         0.66   light           0.34
    >>> predictor.predict(images[2:])["label"].tolist()
    ['light', 'light']
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
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
    ) -> None:
        check_thresholds(top, threshold)
        self._engine: Engine | None = None
        self._n_computed = 0
        self._cache = resolve_cache(cache)
        self._write_cache = bool(write_cache)
        self.model = model if isinstance(model, Model) else read_model(model)
        self._allow = check_allow(self.model.card.allow if allow is None else allow)
        self._resolved = self.model.resolve(
            max_pixels=max_pixels, on_truncated=on_truncated, precision=precision, device=device, batch_size=batch_size
        )
        self._row_predictor = RowPredictor(self.model, top, threshold)
        self.format = self._row_predictor.format
        self._share_network()

    def predict(
        self, images: ImagesLike, *, verbose: bool | None = None, progress: ProgressFunction | None = None
    ) -> pd.DataFrame:
        """Return a table of predictions, one row for each image.

        Parameters
        ----------
        images : sequence of images
            List, array, Series, iterable, one-column DataFrame or ImageTable; see :meth:`FeatureExtractor.transform`.
        verbose : bool or None, default=None
            Whether to show progress on standard error. None: in a terminal or notebook only.
        progress : callable or None, default=None
            Function that is called with a :class:`Progress` now and then, for example ``print``.

        Returns
        -------
        pandas.DataFrame
            Columns ``path``; ``label`` and ``probability`` (``score`` if the model has no probabilities), then
            ``label_2``, ``probability_2`` and so on, or ``prediction`` for regression; ``novelty_score`` (above 1, the
            image is farther from the training images than 99 % of these are from each other); ``note``.
            Unreadable images have no label, and a note with the reason. A missing label is None, a missing number NaN.

        Raises
        ------
        InputError
            `images` is not a collection of images.
        EngineError, StoreError, ResourceError
            The network cannot be run, or the cache cannot be used.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise missing_dependency("The table of predictions", "pandas", instead="call predict_each") from error

        predictions = self.predict_each(images, verbose=verbose, progress=progress)
        table = pd.DataFrame(map(self.format.as_row, predictions), columns=self.format.columns, dtype=object)
        for name in self.format.columns:
            if name in self.format.number_columns:
                table[name] = table[name].astype(float)
            elif table[name].notna().all():
                table[name] = table[name].infer_objects()
        return table

    def warm_up(self) -> Predictor:
        """Start the network and load the decoders, so that the first prediction takes no longer than later ones.

        After this, as after the first prediction, the network stays started as long as the predictor exists.

        Returns
        -------
        self
            The predictor itself.

        Raises
        ------
        EngineError, StoreError, ResourceError
            The network cannot be run, or the cache cannot be used.
        """
        load_decoders()
        run = self._start()
        image = np.zeros((1, *self._resolved.recipe.image_size, 3), dtype=np.uint8)
        for _ in range(2):  # the network for single images is compiled at the second one
            run(image)
        return self

    def _start(self) -> Engine:
        self._resolved.check_not_forked()
        if self._engine is None:  # it stays started, however many other models this process uses
            self._engine = self._resolved.start(self._cache / "compiled" if self._cache else None)
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the engine, which another process starts itself, and without locks."""
        return {name: value for name, value in vars(self).items() if name not in ("_engine", "_predict_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state of a copy or pickle, which shares calls only among its own threads."""
        vars(self).update(state)
        self._engine = None
        self._share_network()

    def _share_network(self) -> None:
        """Let threads predict together what each of them has read."""
        self._predict_read: SharedCalls[Prediction] = SharedCalls(self._predict_together)

    def predict_one(self, image: Image) -> Prediction:
        """Return the prediction of one image; imports no pandas.

        Parameters
        ----------
        image : str, Path, bytes, Pillow image or ndarray of shape (height, width, 3)
            Path, URL, encoded bytes or pixels; see :meth:`FeatureExtractor.transform`.

        Returns
        -------
        Prediction
            An unreadable image has no label, and an error with the reason.

        Raises
        ------
        EngineError, StoreError, ResourceError
            The network cannot be run, or the cache cannot be used.
        """
        return self.predict_each([image], verbose=False)[0]

    def predict_each(
        self, images: ImagesLike, *, verbose: bool | None = None, progress: ProgressFunction | None = None
    ) -> list[Prediction]:
        """Return the prediction of each image; imports no pandas.

        Parameters
        ----------
        images : sequence of images
            See :meth:`predict`.
        verbose : bool or None, default=None
            Whether to show progress on standard error. None: in a terminal or notebook only.
        progress : callable or None, default=None
            Function that is called with a :class:`Progress` now and then, for example ``print``.

        Returns
        -------
        list of Prediction
            In the order of the images.
        """
        if is_stream(images):  # a part of it is in memory at a time
            parts = read_stream(images, SourceOptions())
            return [row for part in parts for row in self.predict_each(part.paths, verbose=verbose, progress=progress)]
        images = as_image_list(images)
        with reporting(verbose, progress), stage("predict", len(images)) as advance:
            if len(images) < SMALL_CALL and not any(map(is_remote_image, images)):
                images = restrict(images, self._allow)  # a client's text is not part of the prediction, either
                with self._predict_read.joining():
                    read = read_first(images, self._resolved, cache=self._cache)
                    predictions = self._predict_read(list(zip(map(describe_image, images), read, strict=True)))
                advance(len(images))
                return predictions
            return self._predict_all(images, advance)

    def cache_note(self) -> str:
        """Return a note if the features of many images were computed and not added to the cache, or ""."""
        if self._cache is None or self._engine is None or self._n_computed < MANY_COMPUTED:
            return ""
        features = f"The features of {format_count(self._n_computed, 'image')} were computed and not added to the cache"
        if getattr(self._engine, "is_from_model_file", False):
            return f"{features}, as only the network in the model file has computed them." if self._write_cache else ""
        return "" if self._write_cache else f"{features}. To keep them, pass write_cache=True (--write-cache)."

    def _predict_all(self, images: Sequence[Any], progress: Callable[[int], object] | None = None) -> list[Prediction]:
        images = restrict(images, self._allow)
        rows = np.empty((len(images), self._resolved.n_features), dtype=np.float32)
        ledger = extract_into(
            rows,
            images,
            self._resolved,
            cache=self._cache,
            read_only=not self._write_cache,
            is_buffered=len(images) < SMALL_CALL,
            raise_on_error=False,
            progress=progress,
        )
        self._hold_engine(ledger)
        errors = {failure.position: failure.reason for failure in ledger.failures}
        return self._row_predictor.predict(list(map(describe_image, images)), rows, errors)

    def _predict_together(self, images: Sequence[tuple[str, FloatArray | ReadImage]]) -> list[Prediction]:
        """Predict images of several threads, with their names; each has a row from the cache, or was read."""
        rows = np.empty((len(images), self._resolved.n_features), dtype=np.float32)
        is_read = np.array([isinstance(image, ReadImage) for _, image in images], dtype=bool)
        for index, (_, image) in enumerate(images):
            if not isinstance(image, ReadImage):
                rows[index] = image
        errors: dict[int, str] = {}
        if is_read.any():
            read = [image for _, image in images if isinstance(image, ReadImage)]
            is_not_kept = not self._write_cache
            rows[is_read], ledger = compute_read_images(read, self._resolved, cache=self._cache, read_only=is_not_kept)
            self._hold_engine(ledger)
            positions = np.flatnonzero(is_read).tolist()
            errors = {positions[failure.position]: failure.reason for failure in ledger.failures}
        return self._row_predictor.predict([name for name, _ in images], rows, errors)

    def _hold_engine(self, ledger: Ledger) -> None:
        if ledger.n_computed:
            self._n_computed += ledger.n_computed
            self._start()
