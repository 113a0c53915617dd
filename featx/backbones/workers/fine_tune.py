"""Child process that trains the last layers of a network; it reads its task from standard input."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files.keras_file import describe
from featx.backbones.keras.keras_import import import_keras, import_tensorflow
from featx.backbones.workers.augment_batches import augment_batch
from featx.backbones.workers.trainable import build_trainable, save_network
from featx.backbones.workers.training_files import NETWORK, PIXELS, TrainingInput, TrainingSettings, save_result
from featx.recipe import Recipe
from featx.system.array_types import AnyArray, IntArray
from featx.system.child_process import report_step, serve_task

#: Number of images that are predicted at a time.
_BATCH_SIZE = 32


class _Trainer:
    """A network with an output layer, and the variables of both that are trained.

    Parameters
    ----------
    rows : keras.Model
        Network from pixels to features.
    variables : list of keras.Variable
        Variables of the network to train.
    pixels : ndarray of uint8 of shape (n_samples, height, width, 3)
    training_input : TrainingInput
    settings : TrainingSettings
    """

    def __init__(
        self,
        rows: Any,
        variables: list[Any],
        pixels: AnyArray,
        training_input: TrainingInput,
        settings: TrainingSettings,
    ) -> None:
        self._tf, self._keras = import_tensorflow(), import_keras()
        self._pixels, self._input, self._settings = pixels, training_input, settings
        self.output_layer = self._keras.layers.Dense(training_input.kernel.shape[1], name="scores")
        self._model = self._keras.Model(rows.inputs, self.output_layer(rows.outputs[0]))
        self._variables = [*variables, *self.output_layer.trainable_variables]
        self._initial_values = [variable.numpy() for variable in variables]
        self._predict = self._tf.function(lambda images: self._model(images, training=False), reduce_retracing=True)

    def start(self, kernel: AnyArray, bias: AnyArray, n_images: int, epochs: int) -> None:
        """Reset the network, set the output layer, and prepare a training of some epochs."""
        self.set_values([*self._initial_values, kernel, bias])
        n_steps = -(-n_images // self._settings.batch_size)
        schedule = learning_rate_schedule(self._keras, self._settings.learning_rate, epochs, n_steps)
        self._optimizer = self._keras.optimizers.Adam(schedule)
        self._optimizer.build(self._variables)
        self._step = self._tf.function(self._train_step, reduce_retracing=True)

    def values(self) -> list[AnyArray]:
        """Return the values of all trained variables."""
        return [variable.numpy() for variable in self._variables]

    def set_values(self, values: list[AnyArray]) -> None:
        """Set the values of all trained variables."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    def train_epoch(self, rows: IntArray, epoch: int) -> float:
        """Train once on each image, in random order; return the mean loss."""
        order = np.random.default_rng((self._settings.random_state, epoch)).permutation(rows)
        losses = [float(self._step(*batch)) for batch in self._batches(order, epoch)]
        return float(np.mean(losses))

    def _train_step(self, images: Any, labels: Any, weights: Any) -> Any:
        watched = [variable.value for variable in self._variables]
        with self._tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self._loss(labels, self._model(images, training=False), weights)
        self._optimizer.apply(tape.gradient(loss, watched), self._variables)
        return loss

    def _loss(self, labels: Any, scores: Any, weights: Any) -> Any:
        losses = self._tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        return self._tf.reduce_sum(losses * weights) / self._tf.reduce_sum(weights)

    def validate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation split."""
        training_input, rows = self._input, self._input.validation
        scores = self._scores(rows)
        loss = self._loss(training_input.labels[rows], scores, training_input.weights[rows])
        return float(loss), float((scores.argmax(axis=1) == training_input.labels[rows]).mean())

    def _scores(self, rows: IntArray) -> AnyArray:
        """Return the scores of images without augmentation."""
        parts = np.array_split(rows, -(-len(rows) // _BATCH_SIZE))
        return np.concatenate([self._predict(self._pixels[part].astype(np.float32)).numpy() for part in parts])

    def _batches(self, order: IntArray, epoch: int) -> Any:
        """Return batches of augmented images, labels and weights; they are prepared while others are trained on."""
        tf, training_input = self._tf, self._input
        shape = self._pixels.shape[1:]

        def read(index: Any, rows: Any) -> Any:
            images = tf.numpy_function(lambda rows: self._pixels[rows], [rows], tf.uint8)
            images = tf.ensure_shape(tf.cast(images, "float32"), (None, *shape))
            seed = tf.stack([self._settings.random_state, 10 * (epoch * 1_000_000 + index)])
            augmented = augment_batch(tf, images, seed, self._settings.augment)
            return augmented, tf.gather(labels, rows), tf.gather(weights, rows)

        labels, weights = tf.constant(training_input.labels), tf.constant(training_input.weights)
        batches = tf.data.Dataset.from_tensor_slices(order).batch(self._settings.batch_size)
        return batches.enumerate().map(read, num_parallel_calls=2, deterministic=True).prefetch(2)


def learning_rate_schedule(keras: Any, learning_rate: float, epochs: int, n_steps: int) -> Any:
    """Return the learning rate of each step: it rises for one epoch and then falls to 0 along a cosine.

    It starts with the rate of one step instead of 0, so that an epoch of a single batch trains, too.
    """
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / n_steps,
        max(1, (epochs - 1) * n_steps),
        warmup_target=learning_rate,
        warmup_steps=n_steps,
    )


def fine_tune(task: dict[str, Any]) -> None:
    """Train the network of a task, and write the result to its folder."""
    folder = Path(task["folder"])
    recipe = Recipe(**{**task["recipe"], "image_size": tuple(task["recipe"]["image_size"])})
    settings = TrainingSettings(**task["settings"])
    pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
    training_input = TrainingInput.load(folder)
    import_keras().utils.set_random_seed(settings.random_state)
    network, rows, variables = build_trainable(task, recipe)
    trainer = _Trainer(rows, variables, pixels, training_input, settings)
    history, n_iter = _train_with_early_stopping(trainer, training_input, settings)
    if settings.refit:
        _refit(trainer, training_input, n_iter)
    save_network(network, folder / NETWORK)
    kernel, bias = trainer.output_layer.get_weights()
    description = describe(folder / NETWORK, recipe.image_size).as_dict()
    save_result(folder, kernel=kernel, bias=bias, history=history, n_iter=n_iter, description=description)


def _train_with_early_stopping(
    trainer: _Trainer, training_input: TrainingInput, settings: TrainingSettings
) -> tuple[list[dict[str, float]], int]:
    """Train until the validation loss no longer falls, and restore the best epoch, which may be the start.

    Returns
    -------
    history : list of dict
    best_epoch : int
    """
    trainer.start(training_input.kernel, training_input.bias, len(training_input.train), settings.epochs)
    started = time.perf_counter()
    history: list[dict[str, float]] = []
    lowest, best_epoch, best_values = np.inf, 0, trainer.values()
    for epoch in range(settings.epochs + 1):
        loss = trainer.train_epoch(training_input.train, epoch) if epoch else None
        val_loss, val_accuracy = trainer.validate()
        seconds = round(time.perf_counter() - started, 3)
        entry = {"epoch": epoch, "val_loss": val_loss, "val_accuracy": val_accuracy, "seconds": seconds}
        history.append(entry if loss is None else {**entry, "loss": loss})
        report_step(
            f"epoch {epoch}/{settings.epochs}: validation loss {val_loss:.4f}, validation accuracy {val_accuracy:.3f}, "
            f"{seconds:.0f} s"
        )
        if val_loss < lowest:
            lowest, best_epoch, best_values = val_loss, epoch, trainer.values()
        elif epoch - best_epoch >= settings.patience:
            break
    trainer.set_values(best_values)
    return history, best_epoch


def _refit(trainer: _Trainer, training_input: TrainingInput, epochs: int) -> None:
    """Train on all images from the start, for a fixed number of epochs."""
    rows = np.sort(np.concatenate([training_input.train, training_input.validation]))
    trainer.start(training_input.refit_kernel, training_input.refit_bias, len(rows), epochs)
    for epoch in range(1, epochs + 1):
        loss = trainer.train_epoch(rows, epoch)
        report_step(f"refit on all images, epoch {epoch}/{epochs}: loss {loss:.4f}")


if __name__ == "__main__":
    sys.exit(serve_task(fine_tune))
