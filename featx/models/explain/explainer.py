"""Where in an image the attribution for a class lies: exact for linear heads on averaged maps, by occlusion for others."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import OptionError, did_you_mean
from featx.extraction.engines.engine import Engine
from featx.models.explain.activation_maps import ActivationMaps, Attribution, activation_map_problem
from featx.models.head.steps import Affine, Normalize, OneVsOneVotes, Sigmoid
from featx.models.model import Model

METHODS = ("auto", "activation", "occlusion")
#: Squares along each side that are covered one after the other.
_SQUARES = 12
#: A covered square is as grey as the mean of ImageNet's images.
_GREY = (124, 117, 104)
#: As a share of the largest score: differences that are none.
_ROUNDING = 1e-6
#: Covered images at a time.
_BLOCK_BYTES = 64_000_000


class Explainer:
    """Explain decisions of one model.

    Parameters
    ----------
    model : Model
    method : {"auto", "activation", "occlusion"}, default="auto"
        ``"activation"`` is the class activation map (Zhou et al. 2016, https://arxiv.org/abs/1512.04150): with average
        pooling and a linear head, the score is the mean over class_indices of the weighted maps plus the bias, so that it
        shows exactly what was added up; of calibrated scores, before they become probabilities.
        ``"occlusion"`` covers one square after another (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901), for
        any model. ``"auto"`` is the first where it can be.
    compiled : Path or None, default=None
        Folder for compiled networks.
    **options
        ``max_pixels`` and ``on_truncated``, where they are to be others than in training.

    Raises
    ------
    OptionError
        An unknown method, or an activation map of a model that has none: why, and what to do.
    ModelFileError, RecipeMismatchError, WeightsError
        The model was altered, or cannot be used here.
    """

    def __init__(self, model: Model, *, method: str = "auto", compiled: Path | None = None, **options: Any) -> None:
        if method not in METHODS:
            raise OptionError(f"method={method!r}: expected one of {', '.join(METHODS)}.")
        self.model = model
        self.resolved = model.resolve(**options)
        model.check()
        if self.resolved.recipe.tta:
            raise OptionError(
                f"{model.path!r} decides by several views of an image (tta={self.resolved.recipe.tta!r}), of which "
                "no one map tells. Train a model without views to have its decisions explained."
            )
        reason = _why_not_linear(model) or activation_map_problem(self.resolved)
        if method == "activation" and reason:
            raise OptionError(
                f"{model.path!r} has no class activation map: {reason}. Pass method='occlusion' (--method occlusion)."
            )
        self.method = "occlusion" if reason or method == "occlusion" else "activation"
        self._compiled = compiled
        self._engine: Engine | None = None
        self._maps: ActivationMaps | None = None

    def check_label(self, label: Any) -> None:
        """Raise if the model has no such class.

        Raises
        ------
        OptionError
        """
        classes = [str(name) for name in self.model.card.classes]
        label = self._as_named(label)
        if label is not None and not classes:
            raise OptionError(f"label={label!r}: this model predicts a quantity, and has no classes. Leave it out.")
        if label is not None and str(label) not in classes:
            hint = did_you_mean(str(label), classes)
            raise OptionError(
                f"label={label!r} is no class of the model.{hint} Expected one of: {', '.join(classes[:30])}."
            )

    def explain(self, pixels: np.ndarray[Any, Any], label: Any = None) -> Attribution:
        """Return where the attribution lies for a class, or for the one that the model decides for.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (height, width, 3)
            As :func:`featx.images.decode.decode_image` gives them.
        label : class, default=None

        Raises
        ------
        OptionError
            The model has no such class.
        """
        if self.method == "activation":
            return self._activation(pixels, label)
        return self._occlusion(pixels, label)

    def _activation(self, pixels: np.ndarray[Any, Any], label: Any) -> Attribution:
        assert self.model.head is not None  # or there would be no activation map
        affine, *rest = self.model.head.scores
        assert isinstance(affine, Affine)
        if self._maps is None:
            self._maps = ActivationMaps(self.resolved, self._compiled)
        values = self._maps.weighted(pixels, affine)
        scores = values.mean(axis=(0, 1))[None]
        decisive = rest[0](scores) if rest else scores
        position, sign = self._of_class(label, np.empty((1, 0)), decisive)  # a head goes by scores alone
        column = 0 if scores.shape[1] == 1 else position
        attribution = (sign * values[..., column]).astype(np.float32)
        return Attribution(self._name(position), float(sign * scores[0, column]), attribution, pixels, "activation")

    def _occlusion(self, pixels: np.ndarray[Any, Any], label: Any) -> Attribution:
        height, width = pixels.shape[:2]
        rows = np.linspace(0, height, min(_SQUARES, height) + 1).round().astype(int)
        columns = np.linspace(0, width, min(_SQUARES, width) + 1).round().astype(int)
        squares = [(*row, *column) for row in itertools.pairwise(rows) for column in itertools.pairwise(columns)]
        n_block = max(1, _BLOCK_BYTES // pixels.nbytes)
        if self._engine is None:
            self._engine = self.resolved.start(self._compiled)
        rows_of = [self._engine(pixels[None])]
        for at in range(0, len(squares), n_block):
            covered = np.repeat(pixels[None], len(squares[at : at + n_block]), axis=0)
            for one, (top, bottom, left, right) in zip(covered, squares[at : at + n_block], strict=True):
                one[top:bottom, left:right] = _GREY
            rows_of.append(self._engine(covered))
        scores, _ = self.model.predict_scores(np.concatenate(rows_of))
        position, sign = self._of_class(label, rows_of[0], scores[:1])
        values = sign * scores[:, 0 if scores.shape[1] == 1 else position]
        lost = (values[0] - values[1:]).reshape(len(rows) - 1, len(columns) - 1)
        lost[np.abs(lost) <= _ROUNDING * np.abs(scores).max()] = 0  # or the strongest noise would get full colour
        return Attribution(self._name(position), float(values[0]), lost.astype(np.float32), pixels, "occlusion")

    def _of_class(self, label: Any, row: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> tuple[int, int]:
        """Return the position of a class (of what is predicted, if None), and how its column speaks for it."""
        self.check_label(label)
        if not self.model.card.classes:
            return 0, 1
        label = self._as_named(label)
        if label is None:
            position = int(self.model.class_indices(row, scores)[0])
        else:
            position = [str(name) for name in self.model.card.classes].index(str(label))
        return position, -1 if scores.shape[1] == 1 and position == 0 else 1

    def _as_named(self, label: Any) -> Any:
        """Return a truth as Python writes it: ``false``, as JSON does, is one as well."""
        if isinstance(label, str) and all(isinstance(name, bool) for name in self.model.card.classes):
            return {"true": "True", "false": "False"}.get(label.lower(), label)
        return label

    def _name(self, position: int) -> Any:
        return self.model.card.classes[position] if self.model.card.classes else None


def _why_not_linear(model: Model) -> str:
    """Return why scores are no weighted sum of features, "" if they are one but for a sigmoid of each."""
    name = model.card.estimator
    if model.head is None:
        return f"{name} is run by scikit-learn, and featx knows no weights of its features"
    kinds = [type(step) for step in model.head.scores]
    if kinds in ([Affine], [Affine, Sigmoid]):
        return ""
    if kinds == [Affine, OneVsOneVotes]:
        return f"scores of {name} are votes between pairs of classes"
    if Normalize in kinds:
        return f"rows of features are made of length one before {name} weighs them"
    return f"{name} is not linear in the features"
