"""Convert a fitted classifier of tags to one head, whose columns are the tags."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import ExportError
from featx.models.head.from_sklearn import as_head
from featx.models.head.head import Head
from featx.models.head.steps import Affine, Sigmoid, Step, TwoClasses

#: Score of a tag that all training images have. Its sigmoid is 1 in float64.
_CERTAIN = 40.0


def as_tag_head(pipeline: Any) -> Head:
    """Convert a pipeline of transformers and a TagClassifier of linear classifiers.

    Parameters
    ----------
    pipeline : Pipeline
        Its last step is a fitted :class:`featx.TagClassifier`.

    Returns
    -------
    Head
        Its scores, and its probabilities, have one column for each tag.

    Raises
    ------
    ExportError
        The classifier of a tag is not linear.
    """
    from sklearn.pipeline import make_pipeline

    tags = pipeline.steps[-1][1]
    before = [transformer for _, transformer in pipeline.steps[:-1]]
    try:
        heads = [None if _is_constant(tag) else as_head(make_pipeline(*before, tag)) for tag in tags.estimators_]
    except ExportError as error:
        raise _not_linear(tags) from error
    known = [head for head in heads if head is not None]
    if not known:
        raise ExportError("Cannot convert a model whose tags apply to all training images. Add images without them.")
    if any(head.affine is None or head.probabilities not in (None, (Sigmoid(), TwoClasses())) for head in known):
        raise _not_linear(tags)
    n_features = len(_affine(known[0]).weights)
    has_probabilities = known[0].probabilities is not None
    certain = Affine(np.zeros((n_features, 1)), np.full(1, _CERTAIN if has_probabilities else 1.0))
    columns = [certain if head is None else _affine(head) for head in heads]
    scores = Affine(
        np.concatenate([column.weights for column in columns], axis=1),
        np.concatenate([column.bias for column in columns]),
    )
    probabilities: tuple[Step, ...] | None = (Sigmoid(),) if has_probabilities else None
    return Head(tags.classes_.tolist(), (scores,), probabilities)


def _not_linear(tags: Any) -> ExportError:
    estimator = getattr(tags.estimator, "steps", [("", tags.estimator)])[-1][1]
    return ExportError(
        f"Cannot export {type(estimator).__name__} for several labels of an image: only linear classifiers are "
        "supported. Train a model with --estimator logreg, linear-svm, ridge or lda."
    )


def _is_constant(estimator: Any) -> bool:
    """Return whether a tag has no classifier, because all training images have it."""
    return isinstance(estimator, int)


def _affine(head: Head) -> Affine:
    affine = head.affine
    assert affine is not None  # checked before
    return affine
