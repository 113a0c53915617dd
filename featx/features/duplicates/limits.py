"""Sizes of blocks and samples in the search for near-duplicates."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DuplicateLimits:
    """Sizes that decide how rows are compared. They change time and memory, not the result.

    Attributes
    ----------
    dense_rows, dense_bytes : int
        Maximum number of rows and bytes of a matrix that is held in memory and compared by :mod:`.dense`.
    dense_block_bytes : int
        Size of a block of the matrix of cosine similarities.
    memory_bytes : int
        Maximum size of an intermediate matrix in memory. A larger one is a file.
    max_pairs : int
        Number of pairs that are collected before they are merged into groups.
    block_bytes : int
        Maximum size of a block of rows.
    left_rows, right_rows : int
        Numbers of rows that are compared with each other at once.
    neighbor_rows : int
        Number of rows whose neighbors are counted at once.
    wide_features : int
        Number of features above which directions are computed from a smaller sample.
    wide_sample_rows, wide_sample_bytes : int
        Maximum size of that sample.
    dimensions : tuple of (int, int) or None
        Numbers of dimensions of the first and second bound. None: the numbers with the lowest estimated cost.
    """

    dense_rows: int = 20_000
    dense_bytes: int = 256 * 2**20
    dense_block_bytes: int = 64 * 2**20
    memory_bytes: int = 2**30
    max_pairs: int = 5_000_000
    block_bytes: int = 32 * 2**20
    left_rows: int = 1024
    right_rows: int = 4096
    neighbor_rows: int = 512
    wide_features: int = 4096
    wide_sample_rows: int = 2048
    wide_sample_bytes: int = 128 * 2**20
    dimensions: tuple[int, int] | None = None

    def block_rows(self, max_rows: int, n_features: int) -> int:
        """Return the number of rows of a block: `max_rows`, or fewer if they are wide."""
        return max(1, min(max_rows, self.block_bytes // (4 * max(1, n_features))))
