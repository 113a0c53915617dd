"""Type aliases of the arrays that featx passes around."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

#: Feature rows.
FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
#: Scores and values computed from them.
Float64Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
#: Indices, class codes and groups.
IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
BoolArray: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
#: Image digests, one in a row.
DigestArray: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
#: RGB pixels of shape (height, width, 3).
PixelArray: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
#: Pixels or outputs of any shape and type.
AnyArray: TypeAlias = "np.ndarray[Any, Any]"
