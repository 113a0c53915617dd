"""The usual Keras pipeline (tf.data, preprocess_input, predict) as reference of a benchmark, in a child process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.keras.builder import build_reference
from featx.backbones.keras.keras_import import import_tensorflow
from featx.backbones.records import KerasRecord
from featx.recipe import Recipe
from featx.system.child_process import serve_task

_BATCH_SIZE = 32


def measure(task: dict[str, Any]) -> None:
    """Write ``rows.npy`` and ``rates.json`` into the task's folder: images/s of the network alone and from files.

    Parameters
    ----------
    task : dict
        ``backbone``, ``recipe``, ``weights_path``, ``paths`` of images, and ``folder``, which holds ``pixels.npy``:
        uint8 images of the network's size.
    """
    folder = Path(task["folder"])
    recipe = Recipe(**{**task["recipe"], "image_size": tuple(task["recipe"]["image_size"])})
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    network, preprocess_input = build_reference(KerasRecord(**task["backbone"]), recipe, weights_path)
    pixels = np.load(folder / "pixels.npy", allow_pickle=False)
    prepared = preprocess_input(pixels.astype(np.float32))

    def predict() -> Any:
        return network.predict(prepared, batch_size=_BATCH_SIZE, verbose=0)

    np.save(folder / "rows.npy", predict(), allow_pickle=False)
    images = _image_dataset(task["paths"], recipe.image_size, preprocess_input)
    rates = {
        "network": len(pixels) / _best_seconds(predict),
        "pipeline": len(task["paths"]) / _best_seconds(lambda: network.predict(images, verbose=0)),
    }
    (folder / "rates.json").write_text(json.dumps(rates))


def _image_dataset(paths: list[str], image_size: tuple[int, int], preprocess_input: Any) -> Any:
    tf = import_tensorflow()

    def load(path: Any) -> Any:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return preprocess_input(tf.image.resize(image, image_size))

    images = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    # Corrupt files and formats that tensorflow does not support are skipped, as users do.
    return images.ignore_errors().batch(_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def _best_seconds(run: Callable[[], object]) -> float:
    """Return the seconds of the faster of two runs, after a warm-up."""
    run()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    sys.exit(serve_task(measure))
