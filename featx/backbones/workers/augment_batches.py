"""Photographs altered at random, as in `tf.data`: mirrored, turned, cut and tinted a little."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

#: How far each kind goes: degrees to either side; the smallest side that is cut out; brightness, contrast and
#: saturation, as shares of what they were.
_DEGREES, _SMALLEST_CUT, _COLOUR = 10.0, 0.85, 0.15


def augmented(tf: Any, images: Any, seed: Any, kinds: Collection[str]) -> Any:
    """Return images altered at random, each in its own way; the same seed alters them the same.

    Parameters
    ----------
    tf : module
        Tensorflow.
    images : tensor of float32, shape (n, height, width, 3)
        From 0 to 255.
    seed : tensor of int64, shape (2,)
        Of the second number, the next nine are used, too.
    kinds : collection of {"flip", "rotate", "crop", "colour"}
    """
    if {"flip", "rotate", "crop"} & set(kinds):
        images = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=_transforms(tf, tf.shape(images), seed, kinds),
            output_shape=tf.shape(images)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
    return _tinted(tf, images, seed) if "colour" in kinds else images


def _transforms(tf: Any, shape: Any, seed: Any, kinds: Collection[str]) -> Any:
    """Return for each image the eight numbers of where a pixel of the altered image comes from in the image."""
    n, height, width = shape[0], tf.cast(shape[1], "float32"), tf.cast(shape[2], "float32")

    def drawn(number: int, low: float, high: float, kind: str) -> Any:
        if kind not in kinds:
            return None
        return tf.random.stateless_uniform([n], _next(tf, seed, number), low, high)

    def or_else(values: Any, otherwise: float) -> Any:
        return tf.fill([n], otherwise) if values is None else values

    mirror = or_else(drawn(0, -1.0, 1.0, "flip"), 1.0)
    mirror = tf.where(mirror < 0, -1.0, 1.0)
    angle = or_else(drawn(1, -_DEGREES, _DEGREES, "rotate"), 0.0) * (3.14159265 / 180)
    side = or_else(drawn(2, _SMALLEST_CUT, 1.0, "crop"), 1.0)
    # The cut lies anywhere within the image; its centre, from that of the image.
    across = or_else(drawn(3, -0.5, 0.5, "crop"), 0.0) * (1 - side) * width
    down = or_else(drawn(4, -0.5, 0.5, "crop"), 0.0) * (1 - side) * height
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    cos, sin = side * tf.cos(angle), side * tf.sin(angle)
    a, b, d, e = mirror * cos, -sin, mirror * sin, cos
    c = middle_x + across - a * middle_x - b * middle_y
    f = middle_y + down - d * middle_x - e * middle_y
    zero = tf.zeros([n])
    return tf.stack([a, b, c, d, e, f, zero, zero], axis=1)


def _next(tf: Any, seed: Any, number: int) -> Any:
    return tf.stack([seed[0], seed[1] + number])


def _tinted(tf: Any, images: Any, seed: Any) -> Any:
    shape = [tf.shape(images)[0], 1, 1, 1]
    bright, contrast, colourful = (
        tf.random.stateless_uniform(shape, _next(tf, seed, number), 1 - _COLOUR, 1 + _COLOUR) for number in (5, 6, 7)
    )
    grey = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = grey + (images - grey) * colourful
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value((mean + (images - mean) * contrast) * bright, 0.0, 255.0)
