"""Class names that may mean the same class: labels of several sources, and names that are written differently."""

from __future__ import annotations

import collections
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from featx.errors import did_you_mean
from featx.system.formatting import format_count, shorten

#: An integer, which may be written as a float.
_INTEGER = re.compile(r"-?[0-9]+(\.0+)?")
#: Signs that do not distinguish class names.
_SEPARATORS = re.compile(r"[\s_.\-]+")
#: Texts that programs write for a missing label.
_MISSING = frozenset(("nan", "NaN", "NAN", "NaT", "<NA>", "None", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "?"))
#: A number with a unit, and the number of different ones, unlike "2D" and "3D".
_MEASURED, _MIN_MEASURED = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?\s*([^\W\d_]{1,4}|%|°C?)"), 3
#: Maximum number of groups of similar names, and of unknown classes, in a note.
_MAX_LISTED = 5


def unify_labels(labels: Sequence[Any], test_labels: Sequence[Any]) -> list[Any]:
    """Return the labels of two sources in one type. None is a missing label.

    Folders have names and tables may have numbers: 1, 1.0 and "1" are the same class. If one source has text, all
    labels become text.

    Examples
    --------
    >>> unify_labels(["0", "1"], ["0.0", "1.0"]), unify_labels(["cat", "1"], [1])
    (['0', '1', '0', '1'], ['cat', '1', '1'])
    """
    joined = [*labels, *test_labels]
    types = {type(label) for label in joined if label is not None}
    if bool in types and types <= {bool, int, float}:  # True is 1
        return [int(label) if isinstance(label, bool) and len(types) > 1 else label for label in joined]
    if str not in types or any(isinstance(label, float) and label % 1 for label in joined):
        return joined  # floats mixed with text are reported as an error later
    texts = [None if label is None else str(label) for label in joined]
    known = set(texts[: len(labels)])
    if all(text is None or _INTEGER.fullmatch(text) for text in texts) and not known.issuperset(texts):
        return [None if text is None else text.partition(".")[0] for text in texts]
    return texts


def similar_names_note(labels: Iterable[Any]) -> str:
    """Return a note on class names that differ only in case, blanks, punctuation, Unicode form or leading zeros.

    Empty: none do.

    Examples
    --------
    >>> similar_names_note(["beach", "Beach", "forest"])
    "Classes with similar names are different classes: 'beach' and 'Beach'. Rename them if they are the same."
    """
    listed = similar_names(labels)
    if not listed:
        return ""
    return f"Classes with similar names are different classes: {listed}. Rename them if they are the same."


def similar_names(labels: Iterable[Any]) -> str:
    """Return names that differ only in case, blanks, punctuation or Unicode form, as a phrase. Empty: none do."""
    groups: dict[str, list[str]] = {}
    for label in dict.fromkeys(label for label in labels if isinstance(label, str)):
        key = _key(label)
        if any(character.isalpha() for character in key):
            groups.setdefault(key, []).append(label)
        elif label.isdecimal():  # 1 and 001, which spreadsheets confuse
            key = label.lstrip("0") or "0"
            groups.setdefault(key, []).append(label)
    similar = [names for names in groups.values() if len(names) > 1]
    if not similar:
        return ""
    listed = "; ".join(" and ".join(map(repr, names)) for names in similar[:_MAX_LISTED])
    more = f"; and {len(similar) - _MAX_LISTED:,} more" if len(similar) > _MAX_LISTED else ""
    return f"{listed}{more}"


def missing_labels_note(labels: Iterable[Any]) -> str:
    """Return a note on classes whose names often mean a missing label: ``nan``, and -1 with 0, 1, … Empty: none do.

    Examples
    --------
    >>> missing_labels_note(["beach", "nan", "sea"])
    "1 image has a label that often means a missing one: 'nan'. If so, remove these labels: an empty cell, None or NaN."
    """
    counts = collections.Counter(label for label in labels if not isinstance(label, float))
    names: list[object] = [name for name in counts if isinstance(name, str) and name in _MISSING]
    for missing, others in ((-1, range(len(counts) - 1)), ("-1", map(str, range(len(counts) - 1)))):
        if len(counts) > 2 and missing in counts and counts.keys() - {missing} == set(others):
            names.append(missing)
    if not names:
        return ""
    n_images = sum(counts[name] for name in names)
    verb = "has a label that often means" if n_images == 1 else "have labels that often mean"
    return (
        f"{format_count(n_images, 'image')} {verb} a missing one: {', '.join(map(repr, names))}. If so, remove these "
        "labels: an empty cell, None or NaN."
    )


def joined_tags_note(labels: Iterable[Any]) -> str:
    """Return a note on class names that may be several tags in one text. Empty: none are.

    They are if their parts recur: there are fewer parts than combinations of them, or the parts are classes, too.

    Examples
    --------
    >>> joined_tags_note(["sea;bay", "bay", "sea;ship", "ship"])
    "Labels such as 'sea;bay' are classes. If they are several tags, pass label_separator=';' (--label-separator ';')."
    """
    names = list(dict.fromkeys(label for label in labels if isinstance(label, str)))
    lists = [name for name in names if name.startswith("[") and name.endswith("]")]
    if len(lists) > 1:
        return (
            f"Labels such as {lists[0]!r} are classes. If they are lists of tags, pass them as lists: "
            "y=table[column].map(ast.literal_eval) in Python."
        )
    for separator, factor in ((";", 1), ("|", 1), (",", 1), ("/", 2), ("+", 2), (" ", 2)):
        joined = [name for name in names if separator in name]
        parts = {part.strip() for name in names for part in name.split(separator)}
        are_names = separator in ";|" and any(
            set(map(str.strip, name.split(separator))) < set(names) for name in joined
        )
        if are_names or (len(joined) > 1 and factor * len(parts) <= len(names)):
            return (
                f"Labels such as {joined[0]!r} are classes. If they are several tags, pass "
                f"label_separator={separator!r} (--label-separator {separator!r})."
            )
    return ""


def measured_note(labels: Iterable[Any]) -> str:
    """Return a note on class names that are numbers with one unit. Empty: they are not.

    Examples
    --------
    >>> measured_note(["10 cm", "25 cm", "12.5 cm"])
    "Labels such as '10 cm' are classes. If they are a continuous target, remove 'cm', so that they are numbers."
    """
    names = list(dict.fromkeys(label for label in labels if isinstance(label, str)))
    units = {match[1] if (match := _MEASURED.fullmatch(name)) else "" for name in names}
    unit = next(iter(units), "")
    if len(names) < _MIN_MEASURED or len(units) > 1 or not unit:
        return ""
    return (
        f"Labels such as {names[0]!r} are classes. If they are a continuous target, remove {unit!r}, so that they are "
        "numbers."
    )


def conflicts_note(images: Iterable[tuple[bytes, str]], labels: Iterable[Any]) -> str:
    """Return a note on identical images with different labels. Empty: there are none.

    Parameters
    ----------
    images : iterable of (bytes, str)
        Digest and path of each image. An unreadable one has no digest.
    labels : iterable of object
        None: no label.
    """
    groups: dict[bytes, dict[Any, str]] = {}
    for (digest, path), label in zip(images, labels, strict=True):
        if digest and label is not None:
            groups.setdefault(digest, {}).setdefault(label, path)
    conflicts = [group for group in groups.values() if len(group) > 1]
    if not conflicts:
        return ""
    examples = [f"{shorten(path)} ({shorten(str(label))})" for label, path in list(conflicts[0].items())[:3]]
    number = format_count(len(conflicts), "group")
    return f"{number} of identical images with different labels, such as {', '.join(examples)}."


def unknown_classes_note(train: Iterable[Any], test: Iterable[Any], *, only_similar: bool = False) -> str:
    """Return a note on classes of the test images that no training image has. Empty: there are none.

    With `only_similar`, classes without a similar name among those of the training images are not noted.

    Examples
    --------
    >>> unknown_classes_note(["beach", "forest"], ["Beach", "forest"])
    "No training image has the test class 'Beach'. Did you mean 'beach'?"
    """
    known, tested = dict.fromkeys(train), dict.fromkeys(test)
    unknown = [label for label in tested if label not in known]
    if not unknown:
        return ""
    if len(unknown) == 1 and all(isinstance(label, int) for label in (*known, *tested)):
        for start, other in ((1, 0), (0, 1)):
            if set(known) == {label + other - start for label in tested} == set(range(other, other + len(known))):
                return (
                    f"No training image has the test class {unknown[0]}: test classes are numbered from {start}, and "
                    f"training classes from {other}. Number both in the same way."
                )
    names = {_key(str(label)): str(label) for label in reversed(known)}
    hints = []
    for label in unknown[:_MAX_LISTED]:
        same = names.get(_key(str(label)))
        hints.append(f" Did you mean {same!r}?" if same else did_you_mean(str(label), [str(name) for name in known]))
    if only_similar and not any(hints):
        return ""
    if len(unknown) == 1:
        return f"No training image has the test class {unknown[0]!r}.{hints[0] or ' Check the labels of both.'}"
    listed = ", ".join(
        f"{label!r}{f' ({hint.strip()})' if hint else ''}" for label, hint in zip(unknown, hints, strict=False)
    )
    more = f" and {len(unknown) - _MAX_LISTED:,} more" if len(unknown) > _MAX_LISTED else ""
    return f"No training image has the test classes {listed}{more}."


def _key(name: str) -> str:
    """Return what similar names have in common."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", name).casefold())


def several_labels_note(paths: Sequence[str], labels: Sequence[Any]) -> str:
    """Return a note on images that are listed several times with different labels. Empty: there are none.

    Examples
    --------
    >>> several_labels_note(["a.jpg", "a.jpg", "b.jpg"], ["cat", "dog", "cat"])[:51]
    "1 image has rows with different labels, such as 'a."
    """
    if len(set(paths)) == len(paths):
        return ""
    first: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for path, label in zip(paths, labels, strict=True):
        if label is not None and first.setdefault(path, label) != label:
            others.setdefault(path, label)
    if not others:
        return ""
    path, other = next(iter(others.items()))
    verb = "has" if len(others) == 1 else "have"
    return (
        f"{format_count(len(others), 'image')} {verb} rows with different labels, such as {path!r} "
        f"({str(first[path])!r}, {str(other)!r}), and each row is an example of its label. If these are tags, write "
        "all tags of an image into one row."
    )
