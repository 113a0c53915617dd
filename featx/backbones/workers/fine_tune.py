"""Train the last part of a network further: run as a child process, told on standard input what to do."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files import keras_file as keras_files
from featx.backbones.keras_import import import_keras
from featx.backbones.workers import trainable as tunable
from featx.backbones.workers.augment_batches import augmented
from featx.recipe import Recipe
from featx.system.array_types import IntArray
from featx.system.child_process import serve_task

#: Images that are looked at at once where nothing is learned.
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    epochs : int
        At most; the learning rate falls to 0 over as many, and over those that were best when all images are learned.
    learning_rate : float
        After the first epoch, over which it rises.
    batch_size : int
    patience : int
        Epochs without a lower held-out loss after which it ends.
    augment : list of {"flip", "rotate", "crop", "colour"}
    random_state : int
    refit : bool
        Train once more on all images, for as many epochs as were best.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    augment: list[str]
    random_state: int
    refit: bool


@dataclasses.dataclass(frozen=True)
class Given:
    """What the task's folder holds: ``pixels.npy``, and the others in ``given.npz``.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, height, width, 3)
        On disk.
    labels : ndarray of int, shape (n,)
    weights : ndarray of float32, shape (n,)
        Of the images in the loss.
    train, held_out : ndarray of int
        Rows to learn from until the best number of epochs is known, and rows that tell it.
    kernel, bias, kernel_of_all, bias_of_all : ndarray of float32
        The output layers to start from: of `train`, and of all images.
    """

    pixels: np.ndarray[Any, Any]
    labels: IntArray
    weights: np.ndarray[Any, Any]
    train: IntArray
    held_out: IntArray
    kernel: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]
    kernel_of_all: np.ndarray[Any, Any]
    bias_of_all: np.ndarray[Any, Any]


class _Tuner:
    """A network with an output layer, and the part of both that is trained."""

    def __init__(self, rows: Any, variables: list[Any], given: Given, settings: Settings) -> None:
        import tensorflow as tf

        self._tf, self._keras = tf, import_keras()
        self._given, self._settings = given, settings
        self.head = self._keras.layers.Dense(given.kernel.shape[1], name="scores")
        self._model = self._keras.Model(rows.inputs, self.head(rows.outputs[0]))
        self._variables = [*variables, *self.head.trainable_variables]
        self._start = [variable.numpy() for variable in variables]
        self._score = tf.function(lambda images: self._model(images, training=False), reduce_retracing=True)

    def begin(self, kernel: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], n_images: int, epochs: int) -> None:
        """Go (back) to the start, with this output layer, and be done in so many epochs."""
        self.take([*self._start, kernel, bias])
        steps = -(-n_images // self._settings.batch_size)
        rate = rates(self._keras, self._settings.learning_rate, epochs, steps)
        self._optimizer = self._keras.optimizers.Adam(rate)
        self._optimizer.build(self._variables)
        self._step = self._tf.function(self._learn, reduce_retracing=True)

    def values(self) -> list[np.ndarray[Any, Any]]:
        """Return all that is trained."""
        return [variable.numpy() for variable in self._variables]

    def take(self, values: list[np.ndarray[Any, Any]]) -> None:
        """Set all that is trained."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def epoch(self, rows: IntArray, number: int) -> float:
        """Learn from each of these images once, in an order of the epoch's own; return the mean loss."""
        order = np.random.default_rng((self._settings.random_state, number)).permutation(rows)
        losses = [float(self._step(*batch)) for batch in self._batches(order, number)]
        return float(np.mean(losses))

    def _learn(self, images: Any, labels: Any, weights: Any) -> Any:
        watched = [variable.value for variable in self._variables]
        with self._tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self._loss(labels, self._model(images, training=False), weights)
        self._optimizer.apply(tape.gradient(loss, watched), self._variables)
        return loss

    def _loss(self, labels: Any, scores: Any, weights: Any) -> Any:
        of_each = self._tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        return self._tf.reduce_sum(of_each * weights) / self._tf.reduce_sum(weights)

    def held_out(self) -> tuple[float, float]:
        """Return loss and accuracy on the images that nothing is learned from."""
        given, rows = self._given, self._given.held_out
        scores = self.scores(rows)
        loss = self._loss(given.labels[rows], scores, given.weights[rows])
        return float(loss), float((scores.argmax(axis=1) == given.labels[rows]).mean())

    def scores(self, rows: IntArray) -> np.ndarray[Any, Any]:
        """Return what the output layer says of images, as they are."""
        parts = np.array_split(rows, -(-len(rows) // _BATCH))
        return np.concatenate([self._score(self._given.pixels[part].astype(np.float32)).numpy() for part in parts])

    def _batches(self, order: IntArray, number: int) -> Any:
        """Return batches of altered images, their labels and weights, read and altered while others are learned."""
        tf, given = self._tf, self._given
        shape = given.pixels.shape[1:]

        def read(at: Any, rows: Any) -> Any:
            images = tf.numpy_function(lambda rows: given.pixels[rows], [rows], tf.uint8)
            images = tf.ensure_shape(tf.cast(images, "float32"), (None, *shape))
            seed = tf.stack([self._settings.random_state, 10 * (number * 1_000_000 + at)])
            altered = augmented(tf, images, seed, self._settings.augment)
            return altered, tf.gather(labels, rows), tf.gather(weights, rows)

        labels, weights = tf.constant(given.labels), tf.constant(given.weights)
        batches = tf.data.Dataset.from_tensor_slices(order).batch(self._settings.batch_size)
        return batches.enumerate().map(read, num_parallel_calls=2, deterministic=True).prefetch(2)


def rates(keras: Any, learning_rate: float, epochs: int, steps: int) -> Any:
    """Return the learning rate of each step, from 0: it rises over an epoch's steps, and falls to 0 over the others."""
    # From a step's share, as at a rate of 0 nothing is learned, in an epoch of one batch all along.
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / steps,
        max(1, (epochs - 1) * steps),
        warmup_target=learning_rate,
        warmup_steps=steps,
    )


def tune(task: dict[str, Any]) -> None:
    """Write ``tuned.keras``, ``output.npz`` and ``result.json`` into the task's folder."""
    folder = Path(task["folder"])
    recipe = Recipe(**{**task["recipe"], "image_size": tuple(task["recipe"]["image_size"])})
    settings = Settings(**task["settings"])
    pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    with np.load(folder / "given.npz", allow_pickle=False) as arrays:
        given = Given(pixels, **arrays)
    import_keras().utils.set_random_seed(settings.random_state)
    network, rows, variables = tunable.build(task, recipe)
    tuner = _Tuner(rows, variables, given, settings)
    history, best = _until_no_better(tuner, given, settings)
    if settings.refit:
        _refit(tuner, given, best)
    tunable.save(network, folder / "tuned.keras")
    kernel, bias = tuner.head.get_weights()
    np.savez(folder / "output.npz", kernel=kernel, bias=bias)
    description = keras_files.describe(folder / "tuned.keras", recipe.image_size)._asdict()
    found = {"history": history, "n_iter": best, "description": description}
    (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def _until_no_better(tuner: _Tuner, given: Given, settings: Settings) -> tuple[list[dict[str, float]], int]:
    """Train until the held-out loss has not fallen for long; go back to where it was lowest, be it the start."""
    tuner.begin(given.kernel, given.bias, len(given.train), settings.epochs)
    started = time.perf_counter()
    history: list[dict[str, float]] = []
    lowest, best, values = np.inf, 0, tuner.values()
    for number in range(settings.epochs + 1):
        learned = tuner.epoch(given.train, number) if number else float("nan")
        loss, accuracy = tuner.held_out()
        seconds = round(time.perf_counter() - started, 3)
        entry = {"epoch": number, "held_out_loss": loss, "held_out_accuracy": accuracy, "seconds": seconds}
        history.append({**entry, "loss": learned} if number else entry)
        _say(f"epoch {number} of {settings.epochs}: held-out loss {loss:.4f}, accuracy {accuracy:.3f}, {seconds:.0f} s")
        if loss < lowest:
            lowest, best, values = loss, number, tuner.values()
        elif number - best >= settings.patience:
            break
    tuner.take(values)
    return history, best


def _refit(tuner: _Tuner, given: Given, epochs: int) -> None:
    """Train on all images for as many epochs as were best."""
    rows = np.sort(np.concatenate([given.train, given.held_out]))
    tuner.begin(given.kernel_of_all, given.bias_of_all, len(rows), epochs)
    for number in range(1, epochs + 1):
        loss = tuner.epoch(rows, number)
        _say(f"on all images, epoch {number} of {epochs}: loss {loss:.4f}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(serve_task(tune))
