"""Files of one small Keras network in each format, images, and the outputs of Keras for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.backbones.networks import SIZE, Array, build_network


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one network in each format of Keras."""
    import keras

    folder = tmp_path_factory.mktemp("own")
    network = build_network(SIZE)
    network.save(folder / "fixed.keras")
    network.save(folder / "fixed.h5")
    network.export(folder / "saved", verbose=False)
    build_network(None).save(folder / "any.keras")
    image = keras.Input((SIZE, SIZE, 3))
    doubled = keras.layers.Lambda(lambda pixels: pixels * 2)(image)
    with_code = keras.Model(image, keras.layers.GlobalAveragePooling2D()(doubled))
    for name in ("code.keras", "code.h5"):
        with_code.save(folder / name)
    network.save_weights(folder / "only.weights.h5")
    return folder


@pytest.fixture(scope="session")
def pixels() -> Array:
    return np.random.default_rng(0).integers(0, 256, (11, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def outputs(folder: Path, pixels: Array) -> dict[str, Array]:
    """Return the outputs of Keras for pixels from -1 to 1, by layer."""
    import keras

    network = keras.models.load_model(folder / "fixed.keras")
    prepared = pixels.astype("float32") / 127.5 - 1
    taken = keras.Model(network.input, {name: network.get_layer(name).output for name in ("first", "second", "head")})
    return dict(taken.predict(prepared, verbose=0))
