"""Compute the attribution map of one image, by class activation or by occlusion."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from featx.errors import OptionError, did_you_mean
from featx.extraction.engines.engine import Engine, PrecisionName
from featx.extraction.options import resolve_cache
from featx.images.image import Kind, check_allow
from featx.models.explain.activation_maps import ActivationMaps, activation_map_problem
from featx.models.explain.attribution import Attribution
from featx.models.head.steps import Affine, Normalize, OneVsOneVotes, Sigmoid
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.system.array_types import AnyArray
from featx.system.option_checks import check_choice

METHODS = ("auto", "activation", "occlusion")
#: Number of occluded squares along each side of an image.
_N_SQUARES = 12
#: The mean color of ImageNet.
_GRAY = (124, 117, 104)
#: Differences up to this fraction of the largest score are rounding errors.
_ROUNDING = 1e-6
#: Size of a block of occluded images that the network processes at a time.
_BLOCK_BYTES = 64_000_000
_MAX_LISTED_CLASSES = 30


class Explainer:
    """Compute attribution maps with one model, image after image.

    Parameters
    ----------
    model : str, Path or Model
        Model, or its file.
    method : {"auto", "activation", "occlusion"}, default="auto"
        See :func:`featx.explain_images`.
    cache : str, Path or None, default="auto"
        Path of the feature cache, which holds compiled networks.
    max_pixels : int or None, default=None
        Maximum number of pixels of an image. None: as in training.
    on_truncated : {"raise", "pad"} or None, default=None
        How to handle images whose file ends too early. None: as in training.
    precision : {"auto", "float32", "float16", "bfloat16", "int8"} or None, default=None
        Precision of the network. None: as in training.
    device : str, default="auto"
        Device that runs the network, see :class:`featx.FeatureExtractor`.
    allow : sequence of {"path", "url", "bytes", "array"} or None, default=None
        Kinds of images to read. None: as in the model.

    Attributes
    ----------
    model : Model
    allow : tuple of str or None
        Kinds of images to read; None: all.
    method : {"activation", "occlusion"}
    resolved : Resolved
        Network and options of the model.

    Raises
    ------
    OptionError
        The method is unknown, or the model does not support it.
    ModelFileError, RecipeMismatchError, WeightsError
        The model cannot be used.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        *,
        method: Literal["auto", "activation", "occlusion"] = "auto",
        cache: str | os.PathLike[str] | None = "auto",
        max_pixels: int | None = None,
        on_truncated: Literal["raise", "pad"] | None = None,
        precision: PrecisionName | None = None,
        device: str = "auto",
        allow: Sequence[Kind] | None = None,
    ) -> None:
        check_choice("method", method, METHODS)
        self.model = model if isinstance(model, Model) else read_model(model)
        self.allow = check_allow(self.model.card.allow if allow is None else allow)
        self.resolved = self.model.resolve(
            max_pixels=max_pixels, on_truncated=on_truncated, precision=precision, device=device
        )
        self.model.check()
        if self.resolved.recipe.tta:
            raise OptionError(
                f"Cannot explain {self.model.path!r}: it uses test-time augmentation "
                f"(tta={self.resolved.recipe.tta!r}). Train a model without tta (--tta)."
            )
        problem = _head_problem(self.model) or activation_map_problem(self.resolved)
        if method == "activation" and problem:
            raise OptionError(
                f"Cannot compute class activation maps of {self.model.path!r}: {problem}. Pass method='occlusion' "
                "(--method occlusion)."
            )
        self.method: Literal["activation", "occlusion"] = (
            "occlusion" if problem or method == "occlusion" else "activation"
        )
        cache_folder = resolve_cache(cache)
        self._compiled = cache_folder / "compiled" if cache_folder else None
        self._engine: Engine | None = None
        self._maps: ActivationMaps | None = None

    def check_label(self, label: Any) -> None:
        """Raise an error if the model has no such class.

        Raises
        ------
        OptionError
        """
        if label is None:
            return
        classes = [str(name) for name in self.model.card.classes]
        if not classes:
            raise OptionError(f"label (--label) must be None for a regression model, got {label!r}. Remove it.")
        name = self._as_class_name(label)
        if name not in classes:
            expected = ", ".join(classes[:_MAX_LISTED_CLASSES])
            raise OptionError(
                f"label (--label) must be a class of the model ({expected}), got {name!r}.{did_you_mean(name, classes)}"
            )

    def explain(self, pixels: AnyArray, label: Any = None) -> Attribution:
        """Return the attribution map of an image.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (height, width, 3)
            The image, as :func:`featx.models.explain.activation_maps.decode_pixels` returns it.
        label : str, int, float, bool or None, default=None
            Class to explain. None: the predicted class.

        Raises
        ------
        OptionError
            The model has no such class.
        """
        self.check_label(label)
        if self.method == "activation":
            return self._explain_by_activation(pixels, label)
        return self._explain_by_occlusion(pixels, label)

    def _explain_by_activation(self, pixels: AnyArray, label: Any) -> Attribution:
        assert self.model.head is not None  # or the method would be occlusion
        affine, *calibration = self.model.head.scores
        assert isinstance(affine, Affine)
        if self._maps is None:
            self._maps = ActivationMaps(self.resolved, self._compiled)
        values = self._maps.weighted(pixels, affine)
        scores = values.mean(axis=(0, 1))[None]
        final_scores = calibration[0](scores) if calibration else scores
        index, sign = self._select_class(label, np.empty((1, 0)), final_scores)  # a head needs no features for it
        column = 0 if scores.shape[1] == 1 else index
        attribution_map = (sign * values[..., column]).astype(np.float32)
        return Attribution(
            self._label_at(index), float(sign * scores[0, column]), attribution_map, pixels, "activation"
        )

    def _explain_by_occlusion(self, pixels: AnyArray, label: Any) -> Attribution:
        if self._engine is None:
            self._engine = self.resolved.start(self._compiled)
        height, width = pixels.shape[:2]
        y = np.linspace(0, height, min(_N_SQUARES, height) + 1).round().astype(int)
        x = np.linspace(0, width, min(_N_SQUARES, width) + 1).round().astype(int)
        squares = [(*rows, *columns) for rows in itertools.pairwise(y) for columns in itertools.pairwise(x)]
        n_block = max(1, _BLOCK_BYTES // pixels.nbytes)
        blocks = (squares[start : start + n_block] for start in range(0, len(squares), n_block))
        features = [self._engine(pixels[None]), *(self._engine(_occlude(pixels, block)) for block in blocks)]
        scores, _ = self.model.predict_scores(np.concatenate(features))
        index, sign = self._select_class(label, features[0], scores[:1])
        class_scores = sign * scores[:, 0 if scores.shape[1] == 1 else index]
        decrease = (class_scores[0] - class_scores[1:]).reshape(len(y) - 1, len(x) - 1)
        # Otherwise, rounding errors would get the most intense color of a map without any effect.
        decrease[np.abs(decrease) <= _ROUNDING * np.abs(scores).max()] = 0
        return Attribution(
            self._label_at(index), float(class_scores[0]), decrease.astype(np.float32), pixels, "occlusion"
        )

    def _select_class(self, label: Any, row: AnyArray, scores: AnyArray) -> tuple[int, int]:
        """Return the index of a class (None: of the predicted one) and the sign of its score in its column."""
        if not self.model.card.classes:
            return 0, 1
        if label is None:
            index = int(self.model.class_indices(row, scores)[0])
        else:
            index = [str(name) for name in self.model.card.classes].index(self._as_class_name(label))
        return index, -1 if scores.shape[1] == 1 and index == 0 else 1

    def _as_class_name(self, label: Any) -> str:
        """Return a label as text; "true" and "false" of JSON and the command line are Python's True and False."""
        if isinstance(label, str) and all(isinstance(name, bool) for name in self.model.card.classes):
            return {"true": "True", "false": "False"}.get(label.lower(), label)
        return str(label)

    def _label_at(self, index: int) -> Any:
        return self.model.card.classes[index] if self.model.card.classes else None


def _occlude(pixels: AnyArray, squares: list[tuple[int, int, int, int]]) -> AnyArray:
    """Return a copy of an image for each square, with the square in gray."""
    images = np.repeat(pixels[None], len(squares), axis=0)
    for image, (top, bottom, left, right) in zip(images, squares, strict=True):
        image[top:bottom, left:right] = _GRAY
    return images


def _head_problem(model: Model) -> str:
    """Return why the scores are not a weighted sum of the features (and a sigmoid of each), or "" if they are."""
    name = model.card.estimator
    if model.head is None:
        return f"{name} has no known weights of features"
    types = [type(step) for step in model.head.scores]
    if types in ([Affine], [Affine, Sigmoid]):
        return ""
    if types == [Affine, OneVsOneVotes]:
        return f"the scores of {name} are votes between pairs of classes"
    if Normalize in types:
        return f"{name} normalizes the features of each image to unit norm"
    return f"{name} is not linear in the features"
