"""Groups of duplicates in a compact grid, and which image of each group to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import UnreadableImageError
from featx.images.decode import decode_full_size
from featx.images.image import read_image
from featx.system.array_types import IntArray
from featx.workflows.report.image_frame import ImageFrame
from featx.workflows.report.inputs import ReportedGroup

#: Maximum number of images of a group whose sizes are compared.
_MAX_SIZES = 20


def duplicate_groups(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return the groups of duplicates with tiles of their images, the one to keep first.

    Groups with training and test images come first.
    """
    groups = []
    clusters = frame.result.duplicates.clusters[: frame.limits.groups]
    for group in sorted(clusters, key=lambda group: not frame.is_leak(group)):
        is_leak = frame.is_leak(group)
        tested = np.flatnonzero(frame.fold_of_row >= 0) if is_leak and frame.has_test_set else ()
        kept = row_to_keep(group, frame.result.paths, tested)
        rows = [kept, *(row for row in group.rows.tolist() if row != kept)][: frame.limits.images_of_group]
        tiles = [_tile(frame, row, is_kept=row == kept) for row in rows]
        groups.append(
            {
                "kind": group.kind,
                "n_images": len(group.rows),
                "cosine": float(np.nanmin(frame.result.duplicates.cosine[group.rows])),
                "is_conflict": frame.has_classes and len(group.labels) > 1,
                "is_leak": is_leak,
                "tiles": [tile for tile in tiles if tile],
            }
        )
    return groups


def row_to_keep(group: ReportedGroup, paths: Sequence[str], preferred: Sequence[int] | IntArray = ()) -> int:
    """Return the row of the image with the most pixels; of equal ones, the first path.

    Parameters
    ----------
    group : ReportedGroup
        Sizes of its first 20 images are compared.
    paths : sequence of str
    preferred : sequence or ndarray of int, default=()
        Rows of which one is kept, if the group has any: those of test images.
    """
    rows: list[int] = sorted(group.rows.tolist(), key=lambda row: paths[row])
    if len(preferred):
        rows = [row for row in rows if row in preferred] or rows
    if group.kind != "near-duplicates":
        return rows[0]  # all have the same size
    return max(rows[:_MAX_SIZES], key=lambda row: _n_pixels(paths[row]))  # the first of equal ones


def _tile(frame: ImageFrame, row: int, *, is_kept: bool) -> dict[str, Any] | None:
    label = frame.format_label(frame.result.y[row])
    side = ("test: " if frame.fold_of_row[row] >= 0 else "training: ") if frame.has_test_set else ""
    return frame.tile(row, side + label, is_kept=is_kept)


def _n_pixels(path: str) -> int:
    try:
        content, _ = read_image(path)
        height, width = decode_full_size(content).shape[:2]
    except (UnreadableImageError, OSError):
        return 0  # no longer readable: not to be kept
    return int(width * height)
