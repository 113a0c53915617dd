"""Duplicates among images: identical files, identical pixels and near-duplicates."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.datasets.labels import label_to_json
from featx.errors import UnreadableImageError
from featx.features.duplicates.find import Duplicates, find_duplicates
from featx.images.decode import decode_full_size, load_decoders
from featx.images.image import read_image
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_count
from featx.system.notebook.cards import Record, card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.processes import n_cores

#: Images with identical pixels have features of at least this cosine similarity.
_MIN_COSINE_OF_IDENTICAL_PIXELS = 0.99
#: Maximum number of images that are decoded again to compare their pixels.
MAX_DECODED = 5_000
#: Number of groups that notebooks show, and of images of each.
_MAX_SHOWN_GROUPS = 10
_MAX_SHOWN_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class DuplicateGroup(Record):
    """Images that show the same thing.

    Attributes
    ----------
    rows : ndarray of int of shape (n_images_of_group,)
        Indices of its images.
    kind : {"identical files", "identical pixels", "near-duplicates"}
        Kind of similarity of all images of the group.
    labels : list
        Distinct labels.

    See Also
    --------
    ImageDuplicates : All groups among some images.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import DuplicateGroup
    >>> group = DuplicateGroup(np.array([3, 7]), "identical files", ["cat", "dog"])
    >>> keep, *others = group.rows.tolist()
    >>> keep, others
    (3, [7])
    """

    rows: IntArray
    kind: str
    labels: list[Any]


@dataclasses.dataclass(frozen=True)
class ImageDuplicates:
    """Groups of duplicates and near-duplicates among images.

    Attributes
    ----------
    duplicates : Duplicates
        Near-duplicates by their features; duplicates are among them.
    clusters : list of DuplicateGroup
        Largest group first.
    n_identical_files : int
        Number of images whose file is identical to that of an earlier image.
    n_identical_pixels : int
        Number of images whose pixels, but not files, are identical to those of an earlier image.
    paths : sequence of str
        Path of each image.

    See Also
    --------
    compare_images : Compare backbones and estimators; the result has the duplicates.
    find_duplicates : Find near-duplicates among features.

    Examples
    --------
    >>> import tempfile
    >>> import PIL.Image
    >>> from featx import compare_images
    >>> colors = ("red", "lime", "blue", "red", "white", "black")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [f"{folder}/{number}.png" for number in range(6)]
    ...     for path, color in zip(paths, colors, strict=True):
    ...         PIL.Image.new("RGB", (32, 32), color).save(path)
    ...     options = {"backbones": ["color_histogram"], "estimators": ["dummy"], "cv": 2, "cache": None}
    ...     duplicates = compare_images(paths, [0, 1, 0, 1, 0, 1], **options).duplicates
    >>> duplicates
    <ImageDuplicates: 2 images in 1 group of duplicates (not counting the first image of each group: 1 identical file)>
    >>> len(duplicates.conflicting)
    1
    """

    duplicates: Duplicates
    clusters: list[DuplicateGroup]
    n_identical_files: int
    n_identical_pixels: int
    paths: Sequence[str]

    def __repr__(self) -> str:
        return f"<ImageDuplicates: {self.describe()}>" if len(self) else "<ImageDuplicates: none>"

    def _repr_html_(self) -> str:
        """Return images of the largest groups with thumbnails as HTML, for notebooks."""
        from featx.images.thumbnails import thumbnail_url

        shown = [
            (number, group, int(row))
            for number, group in enumerate(self.clusters[:_MAX_SHOWN_GROUPS], 1)
            for row in group.rows[:_MAX_SHOWN_IMAGES]
        ]
        rows = [
            {
                "group": f"{number} ({format_count(len(group.rows), 'image')})",
                "image": redact_secrets(self.paths[row]),
                "kind": group.kind,
                "cosine": f"{self.cosine[row]:.4f}",
                "labels of the group": ", ".join(map(str, group.labels[:5])),
            }
            for number, group, row in shown
        ]
        pictures = [thumbnail_url(self.paths[row]) for _, _, row in shown]
        facts = {
            "groups": f"{len(self):,}",
            "with several labels": f"{len(self.conflicting):,}",
            "threshold": f"{self.threshold:g}",
        }
        title = self.describe() if len(self) else "No duplicates"
        return card_to_html(title, facts, table_to_html(rows, images=pictures) if rows else "")

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.clusters)

    @property
    def groups(self) -> IntArray:
        """Group of each image, an ndarray of shape (n_samples,)."""
        return self.duplicates.groups

    @property
    def threshold(self) -> float:
        """Minimum cosine similarity of near-duplicates."""
        return self.duplicates.threshold

    @property
    def cosine(self) -> FloatArray:
        """Cosine similarity of each image to the most similar one of its group; NaN without a duplicate."""
        return self.duplicates.cosine

    @property
    def conflicting(self) -> list[DuplicateGroup]:
        """Groups with more than one label."""
        return [cluster for cluster in self.clusters if len(cluster.labels) > 1]

    @property
    def n_near(self) -> int:
        """Number of images that are near-duplicates, but no duplicates, of an earlier image."""
        return self.duplicates.n_rows - len(self) - self.n_identical_files - self.n_identical_pixels

    def describe(self) -> str:
        """Return the number of duplicates of each kind as a phrase."""
        numbers = {
            "identical file": self.n_identical_files,
            "pixel-identical file": self.n_identical_pixels,
            "near-duplicate": self.n_near,
        }
        kinds = ", ".join(format_count(number, kind) for kind, number in numbers.items() if number)
        n_images = format_count(self.duplicates.n_rows, "image")
        n_groups = format_count(len(self), "group")
        return f"{n_images} in {n_groups} of duplicates (not counting the first image of each group: {kinds})"

    def merge_with(self, groups: IntArray) -> IntArray:
        """Return groups that keep together what either these groups or the given ones keep together.

        Parameters
        ----------
        groups : ndarray of int of shape (n_images,)
            Group of each image.

        Returns
        -------
        ndarray of int64 of shape (n_images,)
            Merged group of each image.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        # A graph of one node per row, per given group and per duplicate group links rows through their groups.
        n = len(groups)
        rows = np.concatenate([np.arange(n), np.arange(n)])
        nodes = np.concatenate([n + np.unique(groups, return_inverse=True)[1], n + n + self.groups])
        links = coo_matrix((np.ones(2 * n), (rows, nodes)), shape=(3 * n, 3 * n))
        merged: IntArray = connected_components(links, directed=False)[1][:n].astype(np.int64)
        return merged

    def as_dict(self, paths: Sequence[str]) -> dict[str, Any]:
        """Return the duplicates as JSON values, with the path of each image.

        Parameters
        ----------
        paths : sequence of str
            Path of each image.

        Returns
        -------
        dict
            Counts, threshold and groups.
        """
        return {
            "images": self.duplicates.n_rows,
            "threshold": self.threshold,
            "exact": self.n_identical_files + self.n_identical_pixels,
            "identical_files": self.n_identical_files,
            "identical_pixels": self.n_identical_pixels,
            "near": self.n_near,
            "groups": [
                {
                    "kind": cluster.kind,
                    "paths": [paths[row] for row in cluster.rows],
                    "labels": list(map(label_to_json, cluster.labels)),
                }
                for cluster in self.clusters
            ],
        }


def find_image_duplicates(
    paths: Sequence[str],
    rows: FloatArray,
    digests: DigestArray,
    y: np.ndarray[Any, Any],
    *,
    threshold: float,
    max_decoded: int = MAX_DECODED,
) -> ImageDuplicates:
    """Return the duplicates among images, by files, pixels and features.

    Parameters
    ----------
    paths : sequence of str
    rows : ndarray of float32 of shape (n_samples, n_features)
    digests : ndarray of uint8 of shape (n_samples, 16)
        Digests of the image files.
    y : ndarray of shape (n_samples,)
    threshold : float
        See :func:`featx.find_duplicates`.
    max_decoded : int, default=5000
        Maximum number of images to decode for a comparison of pixels.
    """
    duplicates = find_duplicates(rows, duplicate_threshold=threshold)
    return classify_duplicates(duplicates, paths, digests, y, max_decoded=max_decoded)


def classify_duplicates(
    duplicates: Duplicates,
    paths: Sequence[str],
    digests: DigestArray,
    y: np.ndarray[Any, Any],
    *,
    max_decoded: int = MAX_DECODED,
) -> ImageDuplicates:
    """Return duplicates with the kind and the labels of each group.

    Parameters
    ----------
    duplicates : Duplicates
    paths, digests, y, max_decoded
        See :func:`find_image_duplicates`.
    """
    file_digests = [digest.tobytes() for digest in digests]
    pixel_digests = _pixel_digests(paths, duplicates, file_digests, max_decoded)
    clusters = []
    n_identical_files = n_identical_pixels = 0
    for members in duplicates.clusters:
        n_files = len({file_digests[row] for row in members})
        n_pixels = len({pixel_digests.get(file_digests[row], file_digests[row]) for row in members})
        n_identical_files += len(members) - n_files
        n_identical_pixels += n_files - n_pixels
        kind = "identical files" if n_files == 1 else "identical pixels" if n_pixels == 1 else "near-duplicates"
        clusters.append(DuplicateGroup(members, kind, np.unique(y[members]).tolist()))
    return ImageDuplicates(duplicates, clusters, n_identical_files, n_identical_pixels, paths)


def _pixel_digests(
    paths: Sequence[str], duplicates: Duplicates, file_digests: Sequence[bytes], max_decoded: int
) -> dict[bytes, bytes]:
    """Return digests of pixels by digests of files, for images that may have the pixels of another file."""
    candidates: dict[bytes, str] = {}
    for members in duplicates.clusters:
        path_by_digest = {file_digests[row]: paths[row] for row in members}
        if len(path_by_digest) > 1 and np.nanmax(duplicates.cosine[members]) >= _MIN_COSINE_OF_IDENTICAL_PIXELS:
            candidates |= path_by_digest
    digests = list(candidates)[:max_decoded]
    load_decoders()
    with concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
        return dict(zip(digests, threads.map(_pixel_digest, [candidates[digest] for digest in digests]), strict=True))


def _pixel_digest(path: str) -> bytes:
    """Return a digest of the upright RGB pixels of an image, or its path if it is no longer readable."""
    try:
        content, _ = read_image(path)
        pixels = decode_full_size(content)
    except (UnreadableImageError, OSError):
        return path.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).digest()
