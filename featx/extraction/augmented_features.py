"""Rows of altered copies of images, to train on beside those of the images, with the group of their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.registry import NetworkBackbone
from featx.baselines.folds.given_folds import validate_row_indices
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.make_split import check_split_options, make_split
from featx.baselines.folds.split import Fold
from featx.datasets.labels import as_label_array, infer_task, is_missing, validate_labels
from featx.errors import OptionError
from featx.extraction.extract import extract_into
from featx.extraction.feature_extractor import FeatureExtractor, resolve_extractor
from featx.extraction.options import resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD, find_duplicates
from featx.images.image import Image, as_image_list
from featx.images.tta import augmented_views
from featx.system.array_types import FloatArray, IntArray
from featx.system.progress import progress_bar

#: More copies of each image than this are a typo: every one has a folder in the store.
_MOST = 100


@dataclasses.dataclass(frozen=True)
class AugmentedFeatures:
    """Rows of images, and after them rows of altered copies.

    Attributes
    ----------
    X : ndarray of float32, shape (n_images * (n + 1), n_features)
        First the rows of the images as they are, in their order; then those of the first copy of each, of the second …
    y : ndarray, shape (n_images * (n + 1),), or None
        A copy has the label of its source.
    groups : ndarray of int64, shape (n_images * (n + 1),)
        A copy is in the group of its source. Without groups, images that show the same thing are one with their copies.
    source : ndarray of int64, shape (n_images * (n + 1),)
        Position of the image that a row is of.
    """

    X: FloatArray
    y: np.ndarray[Any, Any] | None
    groups: IntArray
    source: IntArray

    @property
    def n_images(self) -> int:
        """Number of images; so many rows from the first are of images as they are."""
        return int(self.source.max(initial=-1)) + 1

    def folds(self, cv: Any = 5, *, random_state: int = 0) -> list[Fold]:
        """Return folds that are fitted on images and their copies, and score images as they are.

        An image without a label (None, NaN), and one whose rows are NaN because it could not be read, is in none.

        Parameters
        ----------
        cv : int, splitter or list of (train, test), default=5
            Splits the images: a number of folds, stratified, that keep groups whole; or folds of your own, in
            positions of images.
        random_state : int, default=0
            Decides the folds, where their number was given.

        Returns
        -------
        list of (ndarray of int, ndarray of int)
            Rows to fit on and rows to score, as ``cv=`` of scikit-learn's functions takes them. No copy of an image is
            scored, and none is fitted on whose source, or an image of whose group, is scored.

        Raises
        ------
        OptionError
            There are no labels.
        ComparisonError
            Labels or groups that cannot be split.
        """
        if self.y is None:
            raise OptionError("There are no labels to make folds by. Pass y to augment_features.")
        kept = self._usable
        labels, groups = as_label_array(self.y[kept].tolist()), self.groups[kept]
        task = infer_task(labels)
        alone = len(np.unique(groups)) == len(kept)
        split = make_split(
            validate_labels(labels, task),
            task=task,
            cv=self._among(cv, kept),
            groups=None if alone else groups,
            random_state=random_state,
        ).map_rows(kept)
        return [(np.flatnonzero(np.isin(self.source, train)), test) for train, test in split.folds]

    @property
    def _usable(self) -> IntArray:
        """Positions of images that have a label, and rows of numbers."""
        assert self.y is not None
        unlabelled = np.array([is_missing(label) for label in self.y[: self.n_images].tolist()], dtype=bool)
        unread = np.unique(self.source[~np.isfinite(self.X).all(axis=1)])
        return np.setdiff1d(np.flatnonzero(~unlabelled), unread)

    def _among(self, cv: Any, kept: IntArray) -> Any:
        """Return folds given as positions of images as numbers of those that are kept."""
        if not isinstance(cv, list | tuple):
            return cv
        check_split_options(cv, 1)
        folds = [[validate_row_indices(rows, self.n_images, number) for rows in pair] for number, pair in enumerate(cv)]
        return [tuple(np.searchsorted(kept, rows[np.isin(rows, kept)]) for rows in pair) for pair in folds]


def augment_features(
    images: Any,
    y: Any = None,
    groups: Any = None,
    *,
    n: int = 4,
    random_state: int = 0,
    extractor: FeatureExtractor | None = None,
) -> AugmentedFeatures:
    """Return the rows of images and of altered copies of each, for training on more than there is.

    A copy is a cut of 80 to 100 % of each side, turned by up to 15 degrees, mirrored in half of the cases, its
    brightness, contrast and saturation changed by up to 20 %. What becomes of an image follows from its content,
    `random_state` and the number of the copy alone: the same call gives the same rows, and finds them in the store,
    also among other images or with another `n`.

    Copies are for fitting only. A model that is scored on a copy of what it was fitted on is scored too well; so split
    the images, as :meth:`AugmentedFeatures.folds` does, and not the rows.

    Parameters
    ----------
    images : list, tuple, ndarray, Series or one-column DataFrame of images
        As for :meth:`FeatureExtractor.transform`.
    y : array-like, shape (n_images,), or None, default=None
        Labels or quantities; an image without one (None, NaN) has rows, and is in no fold.
    groups : array-like, shape (n_images,), or None, default=None
        What no split may divide, such as frames of a film; an image without one (None, NaN) is alone. None is
        near-duplicates, as :func:`find_duplicates` tells them by rows of a network; of other backbones, and where all
        would be one group, images that have equal rows.
    n : int, default=4
        Copies of each image, up to 100.
    random_state : int, default=0
        Another number gives other copies.
    extractor : FeatureExtractor or None, default=None
        Network, cache and settings; None is ``FeatureExtractor("mobilenet")``. With ``on_error="nan"``, all rows of an
        image that cannot be read are NaN; it is in no fold.

    Returns
    -------
    AugmentedFeatures
        ``n_images * (n + 1)`` rows, those of the images as they are first.

    Raises
    ------
    OptionError
        Not one label for each image; `n` or `random_state` that cannot be; an extractor that averages views.
    ComparisonError
        Not one group for each image, or one group only.
    UnreadableImageError, InputError, EngineError, StoreError
        As for :meth:`FeatureExtractor.transform`.

    Warns
    -----
    UnreadableImagesWarning
        As for :meth:`FeatureExtractor.transform`, once.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from featx import FeatureExtractor
    >>> photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    >>> cuts = [photo[y : y + 100, x : x + 160] for photo in photos for y in (0, 300) for x in range(0, 480, 160)]
    >>> y = ["china"] * 6 + ["flower"] * 6
    >>> more = augment_features(cuts, y, n=2, extractor=FeatureExtractor("color_histogram", cache=None))
    >>> more.X.shape
    (36, 512)
    >>> cross_val_score(LogisticRegression(), more.X, more.y, cv=more.folds(3)).shape
    (3,)

    The same by hand, with a test set of images that the model sees nothing of:

    >>> fitted_on = np.isin(more.source, [0, 1, 2, 3, 6, 7, 8, 9])
    >>> tested_on = [4, 5, 10, 11]
    >>> model = LogisticRegression().fit(more.X[fitted_on], more.y[fitted_on])
    >>> model.predict(more.X[tested_on]).shape
    (4,)
    """
    extractor = FeatureExtractor() if extractor is None else extractor
    images = as_image_list(images)
    _check(extractor, n, random_state)
    labels = None if y is None else as_label_array(y)
    if labels is not None and labels.shape != (len(images),):
        raise OptionError(f"y: expected one label for each of {len(images)} images, got shape {labels.shape}.")
    codes = None if groups is None else group_codes(groups, len(images))
    rows = _rows(images, extractor, int(n), int(random_state))
    codes = _groups_of(rows[0], extractor) if codes is None else codes
    return AugmentedFeatures(
        X=rows.reshape(-1, rows.shape[2]),
        y=None if labels is None else np.tile(labels, n + 1),
        groups=np.tile(codes, n + 1),
        source=np.tile(np.arange(len(images), dtype=np.int64), n + 1),
    )


def _check(extractor: FeatureExtractor, n: Any, random_state: Any) -> None:
    for name, value, least, most in (("n", n, 1, _MOST), ("random_state", random_state, 0, 2**32 - 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
            raise OptionError(f"{name}={value!r}: expected a whole number from {least} to {most}.")
    if extractor.tta is not None:
        raise OptionError(
            f"tta={extractor.tta!r}: altered copies are views themselves, and are not averaged. Pass an extractor "
            "without views."
        )


def _groups_of(rows: FloatArray, extractor: FeatureExtractor) -> IntArray:
    """Return a number for each image, in the order of their first: equal for those that show the same thing."""
    of_each = np.arange(len(rows))
    readable = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(readable) > 1:
        is_network = isinstance(resolve_extractor(extractor).backbone, NetworkBackbone)
        found = find_duplicates(rows[readable], duplicate_threshold=DUPLICATE_THRESHOLD if is_network else 1).groups
        if is_network and not found.any():
            found = find_duplicates(rows[readable], duplicate_threshold=1).groups
        _, first, kinds = np.unique(found, return_index=True, return_inverse=True)
        of_each[readable] = readable[first[kinds]]
    return np.unique(of_each, return_inverse=True)[1].astype(np.int64)


def _rows(images: Sequence[Image], extractor: FeatureExtractor, n: int, random_state: int) -> FloatArray:
    """Return the rows of images and copies, shape (n + 1, n_images, n_features)."""
    plain = extractor.transform(images)
    rows = np.empty((n + 1, *plain.shape), dtype=np.float32)
    rows[0] = plain
    if not len(images):
        return rows
    resolved = resolve_extractor(extractor)
    recipe = dataclasses.replace(resolved.recipe, tta=augmented_views(n, random_state))
    with progress_bar(len(images), "copies", shown=bool(extractor.verbose)) as progress:
        extract_into(
            rows[1:].swapaxes(0, 1),
            images,
            dataclasses.replace(resolved, recipe=recipe),
            cache=resolve_cache(extractor.cache),
            raise_on_error=extractor.on_error == "raise",
            progress=progress,
        )
    return rows
