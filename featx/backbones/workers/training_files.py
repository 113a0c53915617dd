"""Files that the process of a user and the child process that trains a network exchange, in one temporary folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from featx.system.array_types import AnyArray, FloatArray, IntArray

#: Pixels of the training images: uint8 of shape (n_samples, height, width, 3).
PIXELS = "pixels.npy"
#: The trained network.
NETWORK = "network.keras"
_INPUT, _OUTPUT_LAYER, _RESULT = "input.npz", "output_layer.npz", "result.json"


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings of the training.

    Attributes
    ----------
    epochs : int
        Maximum number of epochs, over which the learning rate falls to 0.
    learning_rate : float
        Learning rate after the first epoch, over which it rises.
    batch_size : int
        Number of images of a training step.
    patience : int
        Number of epochs without a lower validation loss after which training stops.
    augment : list of {"flip", "rotate", "crop", "color"}
        Random transformations of the training images.
    random_state : int
        Seed of the order of images and of their augmentation.
    refit : bool
        Whether to train again on all images, for the best number of epochs.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    augment: list[str]
    random_state: int
    refit: bool


@dataclasses.dataclass(frozen=True)
class TrainingInput:
    """Data that the child process learns from, besides the pixels.

    Attributes
    ----------
    labels : ndarray of int of shape (n_samples,)
        Class indices.
    weights : ndarray of float32 of shape (n_samples,)
        Weights of the images in the loss.
    train, validation : ndarray of int
        Indices of the images of the training and of the validation split.
    kernel, bias : ndarray of float32 of shape (n_features, n_classes) and (n_classes,)
        Output layer to start with, fitted on the training split.
    refit_kernel, refit_bias : ndarray of float32 of shape (n_features, n_classes) and (n_classes,)
        Output layer to start the refit with, fitted on all images.
    """

    labels: IntArray
    weights: FloatArray
    train: IntArray
    validation: IntArray
    kernel: FloatArray
    bias: FloatArray
    refit_kernel: FloatArray
    refit_bias: FloatArray

    def save(self, folder: Path) -> None:
        """Write the arrays to the folder."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez(folder / _INPUT, **arrays)

    @classmethod
    def load(cls, folder: Path) -> TrainingInput:
        """Read the arrays from the folder."""
        with np.load(folder / _INPUT, allow_pickle=False) as arrays:
            return cls(**arrays)


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A trained network.

    Attributes
    ----------
    network : bytes
        The ``.keras`` file of the network, from pixels between 0 and 255 to the layer of its features.
    kernel, bias : ndarray of float32 of shape (n_features, n_classes) and (n_classes,)
        The output layer.
    history : list of dict
        Losses and validation accuracy of each epoch.
    n_iter : int
        Number of epochs of the network.
    description : dict
        Image size and layers of the file.
    """

    network: bytes
    kernel: FloatArray
    bias: FloatArray
    history: list[dict[str, float]]
    n_iter: int
    description: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> TrainingResult:
        """Read the result from the folder."""
        result = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        with np.load(folder / _OUTPUT_LAYER, allow_pickle=False) as arrays:
            return cls((folder / NETWORK).read_bytes(), arrays["kernel"], arrays["bias"], **result)


def save_result(
    folder: Path,
    *,
    kernel: AnyArray,
    bias: AnyArray,
    history: list[dict[str, float]],
    n_iter: int,
    description: dict[str, Any],
) -> None:
    """Write the result of a training to the folder, in which the network is already."""
    np.savez(folder / _OUTPUT_LAYER, kernel=kernel, bias=bias)
    result = {"history": history, "n_iter": n_iter, "description": description}
    (folder / _RESULT).write_text(json.dumps(result), encoding="utf-8")
