"""Features of randomly augmented copies of images, as additional training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.registry import NetworkBackbone
from featx.baselines.folds.given_folds import validate_row_indices
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.make_split import check_split_options, make_split
from featx.baselines.folds.split import Fold
from featx.datasets.labels import as_label_array, infer_task, is_missing, validate_labels
from featx.datasets.tables.streams import as_images
from featx.errors import OptionError
from featx.extraction.extract import extract_into
from featx.extraction.feature_extractor import FeatureExtractor, resolve_extractor
from featx.extraction.options import resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD, find_duplicates
from featx.images.image import Image
from featx.images.tta import augmented_views
from featx.system.array_types import AnyArray, FloatArray, IntArray
from featx.system.notebook.cards import Record
from featx.system.terminal.progress import ProgressFunction, reporting, stage

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Maximum number of copies. More are a typo: each copy has a folder in the cache.
_MAX_COPIES = 100


@dataclasses.dataclass(frozen=True)
class AugmentedFeatures(Record):
    """Features of images, followed by features of randomly augmented copies.

    Attributes
    ----------
    X : ndarray of float32 of shape (n_images * (n_copies + 1), n_features)
        Rows of the images in input order, then those of the first copy of each image, of the second, and so on.
    y : ndarray of shape (n_images * (n_copies + 1),) or None
        Labels. A copy has the label of its image.
    groups : ndarray of int64 of shape (n_images * (n_copies + 1),)
        Groups. A copy has the group of its image.
    source : ndarray of int64 of shape (n_images * (n_copies + 1),)
        Index of the image of each row.

    See Also
    --------
    augment_features : Extract these features.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor, augment_features
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("color_histogram", cache=None)
    >>> augmented = augment_features(images, [0, 0, 1, 1], n_copies=1, extractor=extractor)
    >>> augmented.source
    array([0, 1, 2, 3, 0, 1, 2, 3])
    """

    X: FloatArray
    y: AnyArray | None
    groups: IntArray
    source: IntArray

    @property
    def n_images(self) -> int:
        """Number of images. The first rows are those of the images, without augmentation."""
        return int(self.source.max(initial=-1)) + 1

    def folds(self, cv: Any = 5, *, random_state: int = 0) -> list[Fold]:
        """Return folds that train on images and copies, and test on images only.

        Images without a label (None, NaN) and unreadable images are in no fold.

        Parameters
        ----------
        cv : int, splitter or list of (train, test), default=5
            How to split the images. int: number of stratified folds that keep groups together. A list has indices of
            images.
        random_state : int, default=0
            Seed of the folds, if `cv` is an int.

        Returns
        -------
        list of (train, test)
            Row indices of each fold, for the parameter `cv` of scikit-learn. No copy is a test row, and no training row
            is a copy of a test image or of an image of its group.

        Raises
        ------
        OptionError
            There are no labels.
        ComparisonError
            The labels or groups cannot be split.
        """
        if self.y is None:
            raise OptionError("Cannot create folds: there are no labels. Pass y to augment_features.")
        usable = self._usable_images(self.y)
        labels, groups = as_label_array(self.y[usable].tolist()), self.groups[usable]
        task = infer_task(labels)
        has_groups = len(np.unique(groups)) < len(usable)
        split = make_split(
            validate_labels(labels, task),
            task=task,
            cv=self._map_folds(cv, usable),
            groups=groups if has_groups else None,
            random_state=random_state,
        ).map_rows(usable)
        return [(np.flatnonzero(np.isin(self.source, train)), test) for train, test in split.folds]

    def _usable_images(self, y: AnyArray) -> IntArray:
        """Return the indices of images with a label and finite rows."""
        is_labeled = np.array([not is_missing(label) for label in y[: self.n_images].tolist()], dtype=bool)
        unreadable = np.unique(self.source[~np.isfinite(self.X).all(axis=1)])
        return np.setdiff1d(np.flatnonzero(is_labeled), unreadable)

    def _map_folds(self, cv: Any, usable: IntArray) -> Any:
        """Return given folds with positions among the usable images instead of indices of images."""
        if not isinstance(cv, list | tuple):
            return cv
        check_split_options(cv, 1)
        folds = [[validate_row_indices(rows, self.n_images, number) for rows in fold] for number, fold in enumerate(cv)]
        return [tuple(np.searchsorted(usable, rows[np.isin(rows, usable)]) for rows in fold) for fold in folds]


def augment_features(
    images: ArrayLike | Iterable[Image],
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    n_copies: int = 4,
    random_state: int = 0,
    extractor: FeatureExtractor | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> AugmentedFeatures:
    """Extract features of images and of randomly augmented copies, as additional training data.

    A copy is a crop of 80 to 100 % of each side, rotated by up to 15 degrees, and mirrored with a probability of 0.5.
    Brightness, contrast and saturation change by up to 20 % each. A copy is determined by the content of its image,
    `random_state` and its number: its row is cached, and found again among other images and with another `n_copies`.

    Copies are for training only: a model that is tested on copies of its training images gets too high a score. Split
    images instead of rows, as :meth:`AugmentedFeatures.folds` does.

    Parameters
    ----------
    images : array-like of images of shape (n_images,)
        Images, see :meth:`FeatureExtractor.transform`.
    y : array-like of shape (n_images,) or None, default=None
        Labels or continuous targets. Images without one (None, NaN) have rows, but are in no fold.
    groups : array-like of shape (n_images,) or None, default=None
        Group of each image, for example a patient. Images of one group are never split between training and test set.
        Images without one (None, NaN) are a group of their own. None: near-duplicates form groups, see
        :func:`find_duplicates`; of backbones that are not networks, and if all images would be one group, only images
        with equal rows do.
    n_copies : int, default=4
        Number of copies of each image, up to 100.
    random_state : int, default=0
        Seed of the augmentation.
    extractor : FeatureExtractor or None, default=None
        Backbone, cache and other settings. None: ``FeatureExtractor("mobilenet")``. With ``on_error="nan"``, all rows
        of an unreadable image are NaN.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    AugmentedFeatures
        ``n_images * (n_copies + 1)`` rows.

    Raises
    ------
    OptionError
        The number of labels is wrong, a parameter has an invalid value, or the extractor uses test-time augmentation.
    ComparisonError
        The number of groups is wrong, or there is a single group.
    UnreadableImageError, InputError, EngineError, StoreError
        See :meth:`FeatureExtractor.transform`.

    Warns
    -----
    UnreadableImagesWarning
        See :meth:`FeatureExtractor.transform`.

    See Also
    --------
    FeatureExtractor : Extract features without augmentation; its parameter `tta` averages several views.
    FineTunedClassifier : Train the last layers of a network, with augmentation.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor, augment_features
    >>> from sklearn.datasets import load_sample_image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    >>> crops = [photo[y : y + 100, x : x + 160] for photo in photos for y in (0, 300) for x in range(0, 480, 160)]
    >>> y = ["china"] * 6 + ["flower"] * 6
    >>> augmented = augment_features(crops, y, n_copies=2, extractor=FeatureExtractor("color_histogram", cache=None))
    >>> augmented.X.shape
    (36, 512)
    >>> cross_val_score(LogisticRegression(), augmented.X, augmented.y, cv=augmented.folds(3)).shape
    (3,)

    The same with a test set of four images:

    >>> train = ~np.isin(augmented.source, [4, 5, 10, 11])
    >>> model = LogisticRegression().fit(augmented.X[train], augmented.y[train])
    >>> model.predict(augmented.X[[4, 5, 10, 11]]).shape
    (4,)
    """
    extractor = FeatureExtractor() if extractor is None else extractor
    listed = as_images(images)
    _check_options(extractor, n_copies, random_state)
    labels = None if y is None else as_label_array(y)
    if labels is not None and labels.shape != (len(listed),):
        raise OptionError(f"y must have one label for each of {len(listed):,} images, got shape {labels.shape}.")
    codes = None if groups is None else group_codes(groups, len(listed))
    with reporting(verbose, progress):
        rows = _extract(listed, extractor, int(n_copies), int(random_state))
    codes = _duplicate_groups(rows[0], extractor) if codes is None else codes
    return AugmentedFeatures(
        X=rows.reshape(-1, rows.shape[2]),
        y=None if labels is None else np.tile(labels, n_copies + 1),
        groups=np.tile(codes, n_copies + 1),
        source=np.tile(np.arange(len(listed), dtype=np.int64), n_copies + 1),
    )


def _check_options(extractor: FeatureExtractor, n_copies: Any, random_state: Any) -> None:
    for name, value, low, high in (
        ("n_copies", n_copies, 1, _MAX_COPIES),
        ("random_state", random_state, 0, 2**32 - 1),
    ):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
            raise OptionError(f"{name} must be an integer from {low} to {high}, got {value!r}.")
    if extractor.tta is not None:
        raise OptionError(f"extractor must have tta=None, got tta={extractor.tta!r}. Pass an extractor without tta.")


def _duplicate_groups(rows: FloatArray, extractor: FeatureExtractor) -> IntArray:
    """Return a group for each image: near-duplicates have the same. Groups are numbered by their first image."""
    first_images = np.arange(len(rows))
    readable = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(readable) > 1:
        is_network = isinstance(resolve_extractor(extractor).backbone, NetworkBackbone)
        groups = find_duplicates(rows[readable], duplicate_threshold=DUPLICATE_THRESHOLD if is_network else 1).groups
        if is_network and not groups.any():  # all in one group
            groups = find_duplicates(rows[readable], duplicate_threshold=1).groups
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        first_images[readable] = readable[first[inverse]]
    return np.unique(first_images, return_inverse=True)[1].astype(np.int64)


def _extract(images: Sequence[Image], extractor: FeatureExtractor, n_copies: int, random_state: int) -> FloatArray:
    """Return the rows of images and copies, shape (n_copies + 1, n_images, n_features)."""
    plain = extractor.transform(images)
    rows = np.empty((n_copies + 1, *plain.shape), dtype=np.float32)
    rows[0] = plain
    if not len(images):
        return rows
    resolved = resolve_extractor(extractor)
    recipe = dataclasses.replace(resolved.recipe, tta=augmented_views(n_copies, random_state))
    with stage("extract", len(images), message="augmented copies") as progress:
        extract_into(
            rows[1:].swapaxes(0, 1),
            images,
            dataclasses.replace(resolved, recipe=recipe),
            cache=resolve_cache(extractor.cache),
            raise_on_error=extractor.on_error == "raise",
            progress=progress,
        )
    return rows
