"""Images that are in a collection more than once: the same bytes, the same pixels, or nearly the same picture."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import UnreadableImageError
from featx.features.duplicates.find import Duplicates, find_duplicates
from featx.images.decode import decode_full_size, load_decoders
from featx.images.image import read_image
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.formatting import format_count
from featx.system.processes import n_cores

#: Below this cosine of features, two images do not have the same pixels.
_LEAST_OF_EQUAL_PIXELS = 0.99
#: No more images than this are decoded once more to compare their pixels.
_MOST_DECODED = 5_000


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Images that show the same thing.

    Attributes
    ----------
    rows : ndarray of int
    kind : {"same bytes", "same pixels", "nearly the same"}
        What holds for all of them.
    labels : list
        Their different labels.
    """

    rows: IntArray
    kind: str
    labels: list[Any]


@dataclasses.dataclass(frozen=True)
class ImageDuplicates:
    """Duplicates and near-duplicates among images.

    Attributes
    ----------
    duplicates : Duplicates
    clusters : list of Cluster
        The largest first.
    n_same_bytes, n_same_pixels : int
        Images with the bytes, and with the pixels but not the bytes, of an earlier one.
    """

    duplicates: Duplicates
    clusters: list[Cluster]
    n_same_bytes: int
    n_same_pixels: int

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.clusters)

    @property
    def groups(self) -> IntArray:
        """Equal for images of one cluster, shape (n_samples,)."""
        return self.duplicates.groups

    @property
    def conflicting(self) -> list[Cluster]:
        """The clusters that have several labels."""
        return [cluster for cluster in self.clusters if len(cluster.labels) > 1]

    @property
    def n_near(self) -> int:
        """Images that are nearly the same as an earlier one, but not the same."""
        return self.duplicates.n_rows - len(self) - self.n_same_bytes - self.n_same_pixels

    @property
    def words(self) -> str:
        """How many there are, for people."""
        n_rows = self.duplicates.n_rows
        parts = [f"{self.n_same_bytes} with the same bytes"] if self.n_same_bytes else []
        parts += [f"{self.n_same_pixels} with the same pixels"] if self.n_same_pixels else []
        parts += [f"{self.n_near} nearly the same"] if self.n_near else []
        return (
            f"{format_count(n_rows, 'image')} show in {format_count(len(self), 'group')} what another one shows: "
            f"{', '.join(parts)} as an earlier one"
        )

    def joined_with(self, groups: IntArray) -> IntArray:
        """Return groups that hold together what either these clusters or the given groups do."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        # Rows are linked by way of their groups: a node for each row, given group and cluster.
        n = len(groups)
        given = n + np.unique(groups, return_inverse=True)[1]
        own = n + n + self.groups
        rows = np.concatenate([np.arange(n), np.arange(n)])
        links = coo_matrix((np.ones(2 * n), (rows, np.concatenate([given, own]))), shape=(3 * n, 3 * n))
        labels: IntArray = connected_components(links, directed=False)[1][:n].astype(np.int64)
        return labels

    def as_dict(self, paths: Sequence[str]) -> dict[str, Any]:
        """Return what ``featx compare --json`` prints."""
        return {
            "images": self.duplicates.n_rows,
            "threshold": self.duplicates.threshold,
            "exact": self.n_same_bytes + self.n_same_pixels,
            "same_bytes": self.n_same_bytes,
            "same_pixels": self.n_same_pixels,
            "near": self.n_near,
            "groups": [
                {
                    "kind": cluster.kind,
                    "paths": [paths[at] for at in cluster.rows],
                    "labels": [_plain(label) for label in cluster.labels],
                }
                for cluster in self.clusters
            ],
        }


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def find_image_duplicates(
    paths: Sequence[str], rows: FloatArray, digests: DigestArray, y: np.ndarray[Any, Any], *, threshold: float
) -> ImageDuplicates:
    """Return the duplicates among images, by bytes, pixels and features.

    Parameters
    ----------
    paths : sequence of str
    rows : ndarray of float32, shape (n_samples, n_features)
    digests : ndarray of uint8, shape (n_samples, 16)
        Of the images' bytes.
    y : ndarray, shape (n_samples,)
    threshold : float
        As for :func:`featx.find_duplicates`.
    """
    found = find_duplicates(rows, duplicate_threshold=threshold)
    keys = [digest.tobytes() for digest in digests]
    of_pixels = _pixel_digests(paths, found, keys)
    clusters = []
    n_same_bytes = n_same_pixels = 0
    for members in found.clusters:
        n_bytes = len({keys[at] for at in members})
        n_pixels = len({of_pixels.get(keys[at], keys[at]) for at in members})
        n_same_bytes += len(members) - n_bytes
        n_same_pixels += n_bytes - n_pixels
        kind = "same bytes" if n_bytes == 1 else "same pixels" if n_pixels == 1 else "nearly the same"
        clusters.append(Cluster(members, kind, np.unique(y[members]).tolist()))
    return ImageDuplicates(found, clusters, n_same_bytes, n_same_pixels)


def _pixel_digests(paths: Sequence[str], found: Duplicates, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return digests of the pixels of images that may have those of another one, by the digests of their bytes.

    Of those too many to be decoded once more, only bytes and features are compared.
    """
    wanted: dict[bytes, str] = {}
    for members in found.clusters:
        of_bytes = {keys[at]: paths[at] for at in members}
        if len(of_bytes) > 1 and np.nanmax(found.cosine[members]) >= _LEAST_OF_EQUAL_PIXELS:
            wanted |= of_bytes
    chosen = list(wanted.items())[:_MOST_DECODED]
    load_decoders()
    with concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
        return dict(
            zip([key for key, _ in chosen], threads.map(_pixel_digest, [path for _, path in chosen]), strict=True)
        )


def _pixel_digest(path: str) -> bytes:
    """Return a digest of an image's upright RGB pixels, or of its path if it cannot be read any more."""
    try:
        content, _ = read_image(path)
        whole = decode_full_size(content)
    except (UnreadableImageError, OSError):
        return path.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(f"{whole.shape}".encode() + whole.tobytes(), digest_size=16).digest()
