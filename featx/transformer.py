"""FeatureExtractor: the scikit-learn face of extraction."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from featx.errors import OptionError, UnreadableImagesWarning
from featx.extraction import Extraction
from featx.failures import Failure
from featx.images import as_image_list
from featx.options import ExtractionOptions, resolve_cache
from featx.progress import progress_bar


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Turn images into rows of features with a frozen network, keeping every row ever computed.

    ``fit`` learns nothing. A row depends on its image and on the options marked (*) alone, and is kept
    under both, so folds, refits, clones and later sessions find it again.

    Parameters
    ----------
    backbone : str, default="mobilenet"
        (*) Name of the network; see :func:`featx.available_backbones`.
    weights : str or Path, default="imagenet"
        (*) ``"imagenet"``, or the path of a weights file of this network without its head.
    image_size : int, (int, int) or None, default=None
        (*) Height and width in pixels that the network is shown; None is its own default.
    layer : str or None, default=None
        (*) Layer that is pooled; None is the last convolutional output.
    pooling : {"avg", "max"}, default="avg"
        (*) How the layer's positions become one row.
    resize : {"squash", "crop", "pad"}, default="squash"
        (*) ``"squash"`` changes the aspect ratio; ``"crop"`` scales the shorter side to size · 256 / 224
        and cuts out the centre; ``"pad"`` fits the whole image in and fills the rest with black.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        (*) Arithmetic of the network. ``"auto"`` is bfloat16 where this CPU runs it natively. Rows are
        float32 either way.
    engine : {"auto", "openvino", "keras"}, default="auto"
        What runs the network: ``"auto"`` is OpenVINO where it is installed. ``"keras"`` is the reference.
    batch_size : int, default=32
        Images handed to the network at a time. Bounds memory; changes no value.
    cache : str, Path or None, default="auto"
        Folder that keeps rows; ``"auto"`` is ``$FEATX_CACHE``, else ``cache``; None keeps nothing.
    on_error : {"raise", "nan"}, default="raise"
        What an image that cannot be read does: stop with its name, position and the reason; or get a
        row of NaN, with one warning for the whole call.
    verbose : bool, default=False
        Show a progress bar on standard error.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor
    >>> photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("mobilenet", cache=None)
    >>> extractor.fit_transform(photos).shape
    (2, 1024)
    >>> list(extractor.get_feature_names_out()[:2])
    ['mobilenet_0', 'mobilenet_1']
    """

    def __init__(
        self,
        backbone: str = "mobilenet",
        *,
        weights: str | os.PathLike[str] = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        layer: str | None = None,
        pooling: str = "avg",
        resize: str = "squash",
        precision: str = "auto",
        engine: str = "auto",
        batch_size: int = 32,
        cache: str | os.PathLike[str] | None = "auto",
        on_error: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.layer = layer
        self.pooling = pooling
        self.resize = resize
        self.precision = precision
        self.engine = engine
        self.batch_size = batch_size
        self.cache = cache
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check the parameters; learn and load nothing.

        Parameters
        ----------
        X : list, tuple, ndarray, Series or one-column DataFrame of images
            Only looked at to see that it is a collection.
        y : ignored

        Returns
        -------
        self : FeatureExtractor

        Raises
        ------
        OptionError
            A parameter has a value that cannot be used.
        InputError
            `X` is no collection of images.
        """
        self._options()
        as_image_list(X)
        return self

    def transform(self, X: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return one row of features for each image.

        Parameters
        ----------
        X : list, tuple, ndarray, Series or one-column DataFrame of images
            Each a path, bytes, Pillow image, or uint8 array (h, w, 3) or (h, w); or one uint8 array
            (n_samples, h, w, 3).

        Returns
        -------
        ndarray of float32, shape (n_samples, n_features)

        Raises
        ------
        UnreadableImageError
            With ``on_error="raise"``: the first image that cannot be read.
        OptionError, InputError, WeightsError, EngineError, StoreError
        """
        options = self._options()
        images = as_image_list(X)
        rows = np.empty((len(images), options.n_features), dtype=np.float32)
        if not len(images):
            return rows
        resolved = options.resolve()
        with progress_bar(len(images), self.backbone, shown=bool(self.verbose)) as progress:
            extraction = Extraction(
                images,
                resolved,
                rows,
                cache=resolve_cache(self.cache),
                raise_on_error=self.on_error == "raise",
                progress=progress,
            )
            extraction.run()
        warn_of_failures(extraction.failures, len(images))
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return ``<backbone>_0``, ``<backbone>_1`` and so on, one for each feature.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, shape (n_features,)
        """
        return np.array([f"{self.backbone}_{i}" for i in range(self._options().n_features)], dtype=object)

    def _options(self) -> ExtractionOptions:
        if self.on_error not in ("raise", "nan"):
            raise OptionError(f"on_error={self.on_error!r}: expected one of 'raise', 'nan'.")
        fields = ExtractionOptions.__dataclass_fields__
        return ExtractionOptions(**{name: getattr(self, name) for name in fields})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def warn_of_failures(failures: Sequence[Failure], n_images: int) -> None:
    """Give one warning for all images of a call that could not be read."""
    if failures:
        first = failures[0]
        warnings.warn(
            f"{len(failures)} of {n_images} images cannot be read; their rows are NaN. The first is "
            f"{first.image!r} at position {first.position}: {first.reason}.",
            UnreadableImagesWarning,
            stacklevel=4,  # past scikit-learn's wrapper of transform
        )
