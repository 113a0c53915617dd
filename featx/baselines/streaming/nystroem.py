"""Components of an RBF kernel by Nystroem's method, and ridge on them, for all folds from one pass."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from featx.baselines.kernel_cache import fill_rbf_kernel
from featx.baselines.streaming.folded_rows import FoldedRows
from featx.baselines.streaming.linear import LinearFit
from featx.baselines.streaming.moments import collect_moments
from featx.baselines.streaming.ridge import fit_components
from featx.system.array_types import BoolArray, Float64Array, FloatArray, IntArray

#: Eigenvalues of a kernel below this fraction of the largest one are lost in the rounding of float32.
_MIN_EIGENVALUE = 1e-6


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Rows that span the components of a kernel.

    Attributes
    ----------
    rows : ndarray of float32 of shape (n_landmarks, n_features)
        Centered rows.
    center : ndarray of float32 of shape (n_features,)
        Row that is subtracted from all rows, which changes no distance and minimizes rounding.
    is_used : ndarray of bool of shape (n_folds, n_landmarks)
        Landmarks of each fold: training rows only.
    gamma : float
        Scale of the kernel.
    """

    rows: FloatArray
    center: FloatArray
    is_used: BoolArray
    gamma: float

    @functools.cached_property
    def _squared_norms(self) -> FloatArray:
        norms: FloatArray = np.einsum("ij,ij->i", self.rows, self.rows)
        return norms

    def kernel(self, rows: FloatArray) -> FloatArray:
        """Return the kernel between rows and all landmarks."""
        return self._kernel_of_centered(rows - self.center)

    def _kernel_of_centered(self, centered: FloatArray) -> FloatArray:
        kernel: FloatArray = centered @ self.rows.T
        fill_rbf_kernel(kernel, np.einsum("ij,ij->i", centered, centered), self._squared_norms, self.gamma)
        return kernel

    @functools.cached_property
    def own_kernel(self) -> FloatArray:
        """Kernel between the landmarks."""
        return self._kernel_of_centered(self.rows)


def choose_landmarks(data: FoldedRows, n_components: int, random_state: int) -> tuple[IntArray, BoolArray]:
    """Return random landmarks: for each fold the first training rows of one permutation, so that folds share most.

    Parameters
    ----------
    data : FoldedRows
    n_components : int
        Number of landmarks of a fold.
    random_state : int

    Returns
    -------
    rows : ndarray of int of shape (n_landmarks,)
        Sorted rows.
    is_used : ndarray of bool of shape (n_folds, n_landmarks)
        Landmarks of each fold.
    """
    order = np.random.default_rng(random_state).permutation(len(data.y))
    chosen: list[IntArray] = [order[is_train[order]][:n_components] for is_train in data.is_train]
    rows = np.unique(np.concatenate(chosen))
    return rows, np.stack([np.isin(rows, fold_rows) for fold_rows in chosen])


def read_landmarks(data: FoldedRows, rows: IntArray, is_used: BoolArray, mean: Float64Array, gamma: float) -> Landmarks:
    """Return the landmarks that :func:`choose_landmarks` chose, with their features; `mean` is the mean row."""
    center = mean.astype(np.float32)
    return Landmarks(np.asarray(data.X[rows], dtype=np.float32) - center, center, is_used, gamma)


def _normalization(kernel: Float64Array) -> Float64Array:
    """Return the inverse square root of the kernel between landmarks, without components lost in rounding."""
    values, vectors = eigh(kernel)
    is_kept = values > _MIN_EIGENVALUE * values[-1]
    result: Float64Array = vectors[:, is_kept] / np.sqrt(values[is_kept])
    return result


def fit_nystroem(data: FoldedRows, landmarks: Landmarks, alphas: Sequence[float], label: str) -> LinearFit:
    """Return ridge models on the components of all folds.

    Parameters
    ----------
    data : FoldedRows
    landmarks : Landmarks
    alphas : sequence of float
        Penalties, of which generalized cross-validation on the training rows selects one for each fold.
    label : str
        Purpose of the pass, shown as progress.
    """
    started = time.perf_counter()
    n_landmarks = len(landmarks.rows)
    moments = collect_moments(data, label, landmarks.kernel, n_columns=n_landmarks)
    models = []
    for fold, is_used in enumerate(landmarks.is_used):
        normalization = _normalization(landmarks.own_kernel[np.ix_(is_used, is_used)].astype(np.float64))
        train = moments.train(fold).select(is_used)
        model = fit_components(train, normalization, alphas, is_classifier=data.task == "classification")
        weights = np.zeros((n_landmarks, model.weights.shape[1]))
        weights[is_used] = model.weights
        models.append(dataclasses.replace(model, weights=weights))
    return LinearFit(models, moments.shift, time.perf_counter() - started, landmarks.kernel)
