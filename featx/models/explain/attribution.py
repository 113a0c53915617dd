"""The attribution map of one image."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from featx.system.array_types import AnyArray, FloatArray
from featx.system.notebook.cards import Record


@dataclasses.dataclass(frozen=True)
class Attribution(Record):
    """Which parts of an image the score of a class is based on.

    Attributes
    ----------
    label : str, int, float, bool or None
        The class. None for regression.
    score : float
        Score of the class, which the map explains. For two classes, it is the signed score of this class.
    map : ndarray of float32 of shape (height, width)
        Positive where the image supports the class, negative where it opposes it. The mean of an activation map is the
        score. The value of a square of an occlusion map is the decrease of the score when the square is occluded.
    pixels : ndarray of uint8 of shape (height, width, 3)
        The image as the network receives it.
    method : {"activation", "occlusion"}
        How the map was computed.

    See Also
    --------
    explain_images : Compute attributions of images.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import Attribution
    >>> values = np.array([[3, 0], [0, -1]], dtype=np.float32)
    >>> attribution = Attribution("cat", 0.5, values, np.zeros((8, 8, 3), dtype=np.uint8), "activation")
    >>> float(attribution.map.mean()) == attribution.score
    True
    """

    label: Any
    score: float
    map: FloatArray
    pixels: AnyArray
    method: Literal["activation", "occlusion"]
