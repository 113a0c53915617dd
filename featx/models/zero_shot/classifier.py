"""ZeroShotClassifier: classes by the similarity of images and texts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, Resolved, resolve_cache
from featx.extraction.text.text_rows import check_text_support, extract_texts
from featx.models.zero_shot.prompts import PromptsLike, texts_by_class
from featx.system.array_types import AnyArray, FloatArray
from featx.system.sklearn_compat import HasMethods, Interval


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Classifier of feature rows that compares images with texts, without training.

    An image gets the class whose texts are most similar to it, by the cosine of their rows. The backbone needs a text
    tower, like those of open_clip. As a row next to trained classifiers, it shows how much the labels are worth.

    Parameters
    ----------
    backbone : str or FeatureExtractor
        Backbone of the feature rows: its name, or the extractor, for other weights than those of the name.
    prompts : str, sequence of str, dict, Path or None, default=None
        Texts that describe the classes.

        - str or sequence of str: templates in which ``{}`` stands for the name of the class. An underscore in a name
          becomes a space.
        - dict: a text, or a list of texts, for each class.
        - Path: a file with a template on each line, or a ``.csv`` file with the columns ``label`` and ``prompt``.
        - None: ``"a photo of a {}."``.

        The rows of several texts of a class are averaged after they are scaled to unit length.
    scale : float, default=100.0
        Factor of the cosines that makes them logits. Most networks were trained with 100, the maximum of CLIP. It
        changes probabilities alone, not the predicted classes.
    cache : str, Path or None, default="auto"
        Path of the feature cache, which keeps the rows of texts. See :class:`FeatureExtractor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    prompts_ : list of list of str
        Texts of each class.
    class_rows_ : ndarray of float32 of shape (n_classes, n_features)
        Mean row of the texts of each class, scaled to unit length.
    n_features_in_ : int
        Number of features of an image.

    See Also
    --------
    FeatureExtractor : Feature rows of images.
    similar_images : Find the images that are most similar to a text.
    compare_images : Compare it (``"zero-shot"``) with trained classifiers.

    Notes
    -----
    ``fit`` reads the classes in `y`, not the images. Averaging over templates follows [1]_.

    References
    ----------
    .. [1] Radford, A., et al. (2021). Learning transferable visual models from natural language supervision.
       International Conference on Machine Learning.

    Examples
    --------
    A backbone in plain Python whose rows are colors, with colors of texts:

    >>> import numpy as np
    >>> import PIL.ImageColor
    >>> from featx import DirectBackbone, ZeroShotClassifier, register_backbone, unregister_backbone
    >>> class Colors(DirectBackbone):
    ...     name, version, image_size = "colors", 1, 8
    ...     def n_features(self, pooling): return 3
    ...     def extract(self, pixels): return pixels.mean(axis=(1, 2), dtype="float32")
    ...     def extract_texts(self, texts): return np.array([PIL.ImageColor.getrgb(text) for text in texts], "float32")
    >>> register_backbone(Colors())
    >>> classifier = ZeroShotClassifier("colors", prompts="{}", cache=None)
    >>> classifier.fit([[250, 10, 10], [20, 90, 200]], ["red", "blue"]).predict([[200, 40, 0]]).tolist()
    ['red']
    >>> unregister_backbone("colors")
    """

    __module__ = "featx"  # pickles must not depend on where the code is

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "backbone": [str, os.PathLike, HasMethods(["transform"])],
        "prompts": [str, os.PathLike, list, tuple, Mapping, None],
        "scale": [Interval(Real, 0, None, closed="neither")],
        "cache": [str, os.PathLike, None],
    }

    def __init__(
        self,
        backbone: Any,
        prompts: PromptsLike = None,
        *,
        scale: float = 100.0,
        cache: str | os.PathLike[str] | None = "auto",
    ) -> None:
        self.backbone = backbone
        self.prompts = prompts
        self.scale = scale
        self.cache = cache

    def fit(self, X: Any, y: Any) -> ZeroShotClassifier:
        """Compute the row of each class from its texts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Feature rows of `backbone`. Only their number of features is used.
        y : array-like of shape (n_samples,)
            Class labels.

        Returns
        -------
        ZeroShotClassifier
            The fitted classifier.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise OptionError(
                f"y must have at least two classes, got one class, {self.classes_.tolist()[0]!r}. Add images of "
                "another class."
            )
        self.prompts_ = texts_by_class(self.classes_.tolist(), self.prompts)
        self.class_rows_ = self._class_rows()
        return self

    def _class_rows(self) -> FloatArray:
        texts = [text for texts in self.prompts_ for text in texts]
        rows = normalize(_rows_of_texts(self.backbone, texts, self.cache))
        if rows.shape[1] != self.n_features_in_:
            raise OptionError(
                f"X must have the {rows.shape[1]:,} features of a text, got {self.n_features_in_:,}. Extract it with "
                "the default layer and pooling of the backbone."
            )
        ends = np.cumsum([len(texts) for texts in self.prompts_])[:-1]
        means: FloatArray = np.stack([part.mean(axis=0) for part in np.split(rows, ends)])
        class_rows: FloatArray = normalize(means)
        return class_rows

    def decision_function(self, X: Any) -> AnyArray:
        """Return the scaled cosine of each image and class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Feature rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Cosines times `scale`. For two classes, the value of the second minus that of the first.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> AnyArray:
        """Return the class whose texts are most similar to each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Feature rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        predicted: AnyArray = self.classes_[self._scores(X).argmax(axis=1)]
        return predicted

    def predict_proba(self, X: Any) -> AnyArray:
        """Predict class probabilities: the softmax of the scaled cosine similarities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Feature rows.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of `classes_`.
        """
        scores = self._scores(X)
        probabilities: AnyArray = softmax(scores, axis=1)
        return probabilities

    def _scores(self, X: Any) -> AnyArray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        # Rows are normalized as by the Normalizer of as_pipeline, to the last digit.
        scores: AnyArray = self.scale * (normalize(X) @ self.class_rows_.T).astype(np.float64)
        return scores

    def as_pipeline(self) -> Pipeline:
        """Return the fitted classifier as a linear one of scikit-learn, which needs no backbone.

        Returns
        -------
        sklearn.pipeline.Pipeline
            ``Normalizer`` and a fitted ``LogisticRegression`` with the same classes and probabilities. Append it to a
            :class:`FeatureExtractor` to save it with :func:`save_pipeline`.
        """
        check_is_fitted(self)
        linear, rows = LogisticRegression(), self.scale * self.class_rows_
        linear.classes_, linear.n_features_in_ = self.classes_, self.n_features_in_
        linear.coef_ = rows[1:] - rows[:1] if len(rows) == 2 else rows
        linear.intercept_ = np.zeros(len(linear.coef_), dtype=np.float32)
        linear.n_iter_ = np.zeros(1, dtype=np.int32)
        normalizer = Normalizer()
        normalizer.n_features_in_ = self.n_features_in_
        return make_pipeline(normalizer, linear)


@dataclasses.dataclass(frozen=True)
class TextRows:
    """Rows of texts that are computed already, in place of a backbone: folds in other processes need no network.

    Attributes
    ----------
    by_text : dict of str to ndarray
    """

    by_text: dict[str, FloatArray]

    def transform(self, texts: Sequence[str]) -> FloatArray:
        """Return the rows of texts."""
        return np.stack([self.by_text[text] for text in texts])


def make_bound(resolved: Resolved, prompts: PromptsLike, classes: Sequence[Any], cache: Path | None) -> Any:
    """Return an unfitted classifier that holds the rows of the texts of all classes.

    Parameters
    ----------
    resolved : Resolved
        Backbone with a text tower.
    prompts : str, Path, sequence of str, mapping or None
        See :class:`ZeroShotClassifier`.
    classes : sequence
        All classes of the data.
    cache : Path or None
        Cache folder.
    """
    by_class = texts_by_class(classes, prompts)
    texts = list(dict.fromkeys(text for texts in by_class for text in texts))
    rows = extract_texts(texts, resolved, cache=cache)
    by_text = dict(zip(texts, rows, strict=True))
    return ZeroShotClassifier(TextRows(by_text), dict(zip(classes, by_class, strict=True)))


def _rows_of_texts(backbone: Any, texts: Sequence[str], cache: str | os.PathLike[str] | None) -> FloatArray:
    if isinstance(backbone, TextRows):
        return backbone.transform(texts)
    if isinstance(backbone, str | os.PathLike):
        options = ExtractionOptions(os.fspath(backbone))
    else:
        options = ExtractionOptions(
            **{field.name: getattr(backbone, field.name) for field in dataclasses.fields(ExtractionOptions)}
        )
    resolved = options.resolve()
    check_text_support(resolved, "ZeroShotClassifier")
    return extract_texts(texts, resolved, cache=resolve_cache(cache))
