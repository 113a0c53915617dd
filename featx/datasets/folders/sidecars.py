"""Labels in files next to the images of an archive, as in WebDataset: ``0001.jpg`` and ``0001.cls``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from featx.datasets.folders.names import normalize_label
from featx.errors import FeatxError
from featx.system.formatting import format_list, shorten

#: Fields of JSON that are labels, in the order of preference.
_FIELDS = ("label", "cls", "class", "category", "target", "y", "species")
_SUFFIXES = (".cls", ".json", ".txt")
#: Longer text is a caption. So is text that is different for nearly every image.
_MAX_LENGTH, _MAX_DISTINCT = 64, 0.5

_TABLE = "Pass a table of paths and labels"


class SidecarLabels(NamedTuple):
    """Labels from files next to images.

    Attributes
    ----------
    suffix : str
        Suffix of these files.
    labels : dict of str to (str or None)
        Label of each image by its name.
    """

    suffix: str
    labels: dict[str, str | None]


def read_sidecars(
    images: Sequence[str],
    names: Iterable[str],
    read: Callable[[str], bytes],
    *,
    field: str | None = None,
    only_cls: bool = False,
) -> SidecarLabels | None:
    """Return the labels in files that have the names of images and another suffix. None: there are none.

    Parameters
    ----------
    images : sequence of str
        Names of images.
    names : iterable of str
        All names.
    read : callable
        Function that returns the bytes of a file.
    field : str or None, default=None
        Field of JSON that is the label. None: label, cls, class, category and the like.
    only_cls : bool, default=False
        Whether to ignore JSON and text.
    """
    names = list(names)
    for split in (split_key, _split_last):
        keys = [split(image)[0] for image in images]
        by_suffix: dict[str, dict[str, str]] = {suffix: {} for suffix in _SUFFIXES}
        for name in names:
            key, suffix = split(name)
            if suffix in by_suffix:
                by_suffix[suffix][key] = name
        labels = _read_labels(images, keys, by_suffix, read, field=field, only_cls=only_cls)
        if labels is not None:
            return labels
    return None


def _read_labels(
    images: Sequence[str],
    keys: Sequence[str],
    by_suffix: Mapping[str, Mapping[str, str]],
    read: Callable[[str], bytes],
    *,
    field: str | None,
    only_cls: bool,
) -> SidecarLabels | None:
    """Return the labels in the files of the first suffix that has some."""
    for suffix in _SUFFIXES[:1] if only_cls else _SUFFIXES:
        files = by_suffix[suffix]
        if files.keys().isdisjoint(keys):
            continue
        texts = [_label(read, files.get(key), suffix, field) for key in keys]
        if any(texts) and (suffix != ".txt" or _are_classes(texts)):
            return SidecarLabels(suffix, dict(zip(images, texts, strict=True)))
    return None


def unused_reason(
    images: Sequence[str], names: Iterable[str], read: Callable[[str], bytes], field: str | None = None
) -> str:
    """Return why the files next to the images of an archive are no labels, with a remedy. Empty: there are none.

    Parameters
    ----------
    images, names, read, field
        See :func:`read_sidecars`.
    """
    keys = {split_key(image)[0] for image in images}
    first: dict[str, str] = {}
    for name in names:
        key, suffix = split_key(name)
        if suffix in _SUFFIXES and key in keys:
            first.setdefault(suffix, name)
    if ".txt" in first and ".json" not in first:
        return f"The .txt files next to the images are no classes, but captions or boxes. {_TABLE}."
    if ".json" not in first:
        return ""
    try:
        value = json.loads(read(first[".json"]).decode("utf-8-sig", "replace"))
    except (FeatxError, ValueError):
        return f"Cannot read labels from {first['.json']!r}: it is not JSON. {_TABLE}."
    if not isinstance(value, dict):
        return f"{first['.json']!r} is no JSON object with a label. {_TABLE}."
    known = [name for name in ([field] if field else _FIELDS) if name in value]
    if known:
        return (
            f"The field {known[0]!r} of {first['.json']!r} is no label, but "
            f"{shorten(json.dumps(value[known[0]]))}. {_TABLE}, or another field as label_column (--label-column)."
        )
    return (
        f"The .json files next to the images have no label: {first['.json']!r} has the fields "
        f"{format_list(list(value), 8)}. Pass one of them as label_column (--label-column)."
    )


def further_images(images: Sequence[str]) -> frozenset[str]:
    """Return the images of samples that have a plain one, such as ``0001.depth.png`` next to ``0001.jpg``.

    Examples
    --------
    >>> sorted(further_images(["1.jpg", "1.depth.png", "2.left.png", "2.right.png"]))
    ['1.depth.png']
    """
    plain = {split_key(image)[0] for image in images if split_key(image)[1].count(".") == 1}
    return frozenset(image for image in images if split_key(image)[1].count(".") > 1 and split_key(image)[0] in plain)


def _split_last(name: str) -> tuple[str, str]:
    """Return the name of a file to its last period, and its suffix: names such as ``scan.2020.jpg`` have several."""
    stem, dot, suffix = name.rpartition(".")
    return stem, (dot + suffix).lower()


def split_key(name: str) -> tuple[str, str]:
    """Return the key of a file, which ends at the first period of its name, and its suffix.

    Examples
    --------
    >>> split_key("train/0001.seg.png"), split_key("0001.CLS")
    (('train/0001', '.seg.png'), ('0001', '.cls'))
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", (dot + suffix).lower()


def _label(read: Callable[[str], bytes], name: str | None, suffix: str, field: str | None) -> str | None:
    if name is None:
        return None
    try:
        text = read(name).decode("utf-8-sig", "replace").strip()
        if suffix != ".json":
            return normalize_label(text) or None
        value = json.loads(text)
    except (FeatxError, ValueError):  # this image has no label
        return None
    if isinstance(value, dict):
        value = next((value[name] for name in ([field] if field else _FIELDS) if name in value), None)
    return None if value is None or isinstance(value, dict | list) else normalize_label(str(value)) or None


def _are_classes(texts: Sequence[str | None]) -> bool:
    known = [text for text in texts if text is not None]
    is_short = all(len(text) <= _MAX_LENGTH and "\n" not in text for text in known)
    return is_short and len(set(known)) <= max(1, _MAX_DISTINCT * len(known))
