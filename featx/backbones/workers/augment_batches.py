"""Random augmentation of batches of images with ``tf.data``: flips, rotations, crops and colors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

#: Ranges: rotation in degrees to either side, the smallest side of a crop, and the change of brightness, contrast and
#: saturation, both as fractions.
_MAX_DEGREES, _MIN_CROP, _MAX_COLOR_CHANGE = 10.0, 0.85, 0.15
#: Numbers that are added to the seed for each random value.
_FLIP, _ROTATE, _CROP, _CROP_X, _CROP_Y, _BRIGHTNESS, _CONTRAST, _SATURATION = range(8)


def augment_batch(tf: Any, images: Any, seed: Any, kinds: Collection[str]) -> Any:
    """Return images, each transformed at random; the same seed gives the same images.

    Parameters
    ----------
    tf : module
        Tensorflow.
    images : tensor of float32 of shape (n_samples, height, width, 3)
        Pixels between 0 and 255.
    seed : tensor of int64 of shape (2,)
        Seed. The next seven values of the second number are used, too.
    kinds : collection of {"flip", "rotate", "crop", "color"}

    Returns
    -------
    tensor of float32 of shape (n_samples, height, width, 3)
    """
    if {"flip", "rotate", "crop"} & set(kinds):
        images = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=_projections(tf, tf.shape(images), seed, kinds),
            output_shape=tf.shape(images)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
    return _change_colors(tf, images, seed) if "color" in kinds else images


def _projections(tf: Any, shape: Any, seed: Any, kinds: Collection[str]) -> Any:
    """Return the projective transformation of each image, from output to input coordinates, as eight numbers."""
    n_images, height, width = shape[0], tf.cast(shape[1], "float32"), tf.cast(shape[2], "float32")

    def draw(number: int, low: float, high: float, kind: str, default: float) -> Any:
        """Return random numbers if this kind of augmentation is used, else the default."""
        if kind not in kinds:
            return tf.fill([n_images], default)
        return tf.random.stateless_uniform([n_images], _next_seed(tf, seed, number), low, high)

    mirror = tf.where(draw(_FLIP, -1.0, 1.0, "flip", 1.0) < 0, -1.0, 1.0)
    angle = draw(_ROTATE, -_MAX_DEGREES, _MAX_DEGREES, "rotate", 0.0) * (3.14159265 / 180)
    side = draw(_CROP, _MIN_CROP, 1.0, "crop", 1.0)
    # Distance of the center of the crop, which lies within the image, from the center of the image.
    offset_x = draw(_CROP_X, -0.5, 0.5, "crop", 0.0) * (1 - side) * width
    offset_y = draw(_CROP_Y, -0.5, 0.5, "crop", 0.0) * (1 - side) * height
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    cos, sin = side * tf.cos(angle), side * tf.sin(angle)
    a, b, d, e = mirror * cos, -sin, mirror * sin, cos
    c = center_x + offset_x - a * center_x - b * center_y
    f = center_y + offset_y - d * center_x - e * center_y
    zeros = tf.zeros([n_images])
    return tf.stack([a, b, c, d, e, f, zeros, zeros], axis=1)


def _next_seed(tf: Any, seed: Any, number: int) -> Any:
    return tf.stack([seed[0], seed[1] + number])


def _change_colors(tf: Any, images: Any, seed: Any) -> Any:
    shape = [tf.shape(images)[0], 1, 1, 1]
    brightness, contrast, saturation = (
        tf.random.stateless_uniform(shape, _next_seed(tf, seed, number), 1 - _MAX_COLOR_CHANGE, 1 + _MAX_COLOR_CHANGE)
        for number in (_BRIGHTNESS, _CONTRAST, _SATURATION)
    )
    gray = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = gray + (images - gray) * saturation
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value((mean + (images - mean) * contrast) * brightness, 0.0, 255.0)
