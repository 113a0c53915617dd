"""Baselines that replace kernel machines beyond a size: Nystroem's components and a linear model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from featx.baselines.builtin_baselines import GAMMAS, Baseline
from featx.baselines.multilabel.one_vs_rest import one_vs_rest
from featx.baselines.scaling.gcv_ridge import GcvRidge, GcvRidgeClassifier
from featx.baselines.scaling.limits import ScaleLimits

#: Penalties of ridge on the components, whose rows have at most norm 1. Generalized cross-validation selects one: on
#: synthetic features of ten classes 0.1 is best, and on 1,000 classes of 20 rows accuracy is 0.71 for 0.03, 0.85 for 1.
ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

#: With fewer components for each class, the approximation may be less accurate: it was by 12 points for 1,000 classes.
_COMPONENTS_PER_CLASS = 10


def approximate_name(name: str, limits: ScaleLimits) -> str:
    """Return the name of the approximation of a kernel machine in tables and reports."""
    return f"{name} (Nystroem, {limits.n_components:,} components)"


def approximate_baselines(
    baselines: Sequence[Baseline],
    n_samples: int,
    limits: ScaleLimits,
    notes: list[str],
    *,
    random_state: int,
    n_classes: int = 1,
) -> list[Baseline]:
    """Replace kernel machines by approximations if there are many samples, and add a note.

    Parameters
    ----------
    baselines : sequence of Baseline
        Only built-in baselines with an RBF kernel are replaced.
    n_samples : int
        Number of samples of the comparison.
    limits : ScaleLimits
    notes : list of str
        Receives the note.
    random_state : int
        Seed of the components.
    n_classes : int, default=1
        Number of classes: many need more components than there are.
    """
    if n_samples <= limits.exact_rows:
        return list(baselines)
    replaced = []
    for baseline in baselines:
        if baseline.is_builtin and baseline.kernel == "rbf":
            per_tag = baseline.per_tag
            replaced.append(
                _approximation(baseline, limits, random_state)
                if per_tag is None
                else one_vs_rest(_approximation(per_tag, limits, random_state))
            )
            notes.append(
                f"{baseline.name} is approximated for {n_samples:,} samples: {limits.n_components:,} components of its "
                "RBF kernel (Nystroem) and a ridge model, whose penalty generalized cross-validation selects. Use "
                "exact=True (--exact) for the support vector machine, whose time grows with the square of the number "
                "of samples."
            )
            notes.extend(note_on_classes(baseline.name, n_classes, limits))
        else:
            replaced.append(baseline)
    return replaced


def note_on_classes(name: str, n_classes: int, limits: ScaleLimits) -> list[str]:
    """Return a note if there are many classes for the number of components."""
    if n_classes * _COMPONENTS_PER_CLASS <= limits.n_components:
        return []
    return [f"With {n_classes:,} classes the approximation of {name} may be less accurate; compare it with logreg."]


def _approximation(baseline: Baseline, limits: ScaleLimits, random_state: int) -> Baseline:
    is_regression = bool(baseline.prefix)

    def make(n_train: int) -> Any:
        from sklearn.kernel_approximation import Nystroem
        from sklearn.pipeline import Pipeline

        components = Nystroem(n_components=min(limits.n_components, n_train), random_state=random_state)
        model = GcvRidge(ALPHAS) if is_regression else GcvRidgeClassifier(ALPHAS)
        return Pipeline([("nystroem", components), ("ridge", model)])

    return dataclasses.replace(
        baseline,
        name=approximate_name(baseline.name, limits),
        make=make,
        grid={"nystroem__gamma": GAMMAS},
        kernel="nystroem",
        prefix="nystroem__",
        time_order=1,
    )
