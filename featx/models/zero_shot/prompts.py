"""Texts that describe classes: templates, a text for each class, or a file of either."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from featx.datasets.tables.text_format import repair_text
from featx.errors import OptionError, SourceError

#: What ``prompts=`` accepts: templates, texts for each class, or the path of a file of either.
PromptsLike: TypeAlias = "str | os.PathLike[str] | Sequence[str] | Mapping[Any, Any] | None"
#: Stands for the name of the class in a template.
PLACEHOLDER = "{}"
DEFAULT_TEMPLATE = f"a photo of a {PLACEHOLDER}."
_COLUMNS = ["label", "prompt"]


def texts_by_class(classes: Sequence[Any], prompts: PromptsLike) -> list[list[str]]:
    """Return the texts of each class, in order.

    Parameters
    ----------
    classes : sequence
        Class labels.
    prompts : str, Path, sequence of str, mapping or None
        See :class:`featx.ZeroShotClassifier`.

    Raises
    ------
    OptionError
        If a class has no text, a template has no ``{}``, or a file cannot be read.

    Examples
    --------
    >>> texts_by_class(["cat", "red_panda"], None)
    [['a photo of a cat.'], ['a photo of a red panda.']]
    """
    if isinstance(prompts, os.PathLike):
        prompts = read_prompts(Path(prompts))
    if isinstance(prompts, Mapping):
        by_label = {str(label): _as_texts(texts) for label, texts in prompts.items()}
        if missing := [label for label in map(str, classes) if not by_label.get(label)]:
            raise OptionError(
                f"prompts (--prompts) must have a text for each class, got none for {missing[0]!r}. Add one, or pass "
                f"templates such as {DEFAULT_TEMPLATE!r}."
            )
        return [by_label[str(label)] for label in classes]
    templates = [DEFAULT_TEMPLATE] if prompts is None else _as_texts(prompts)
    for template in templates:
        if PLACEHOLDER not in template:
            raise OptionError(
                f"A template of prompts (--prompts) must contain {PLACEHOLDER!r} for the name of the class, got "
                f"{template!r}. For one text per class, pass a dict, or a CSV file with the columns label and prompt."
            )
    if not templates:
        raise OptionError(f"prompts (--prompts) has no template. Pass one such as {DEFAULT_TEMPLATE!r}.")
    names = [repair_text(str(label)).replace("_", " ") for label in classes]
    return [[template.replace(PLACEHOLDER, name) for template in templates] for name in names]


def _as_texts(texts: object) -> list[str]:
    values = [texts] if isinstance(texts, str) or not isinstance(texts, Sequence) else list(texts)
    if any(not isinstance(text, str) or not text.strip() for text in values):
        raise OptionError(
            f"prompts (--prompts) must be templates, or a dict of texts for each class, got {texts!r}. Pass for "
            f"example [{DEFAULT_TEMPLATE!r}]."
        )
    return [str(text) for text in values]


def read_prompts(path: Path) -> dict[str, list[str]] | list[str]:
    """Return the templates of a text file, one per line, or the texts for each class of a CSV file.

    Parameters
    ----------
    path : Path
        Path of the file. One that ends in ``.csv`` has the columns ``label`` and ``prompt``.

    Raises
    ------
    OptionError
        If the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(
            f"Cannot read prompts (--prompts) from {str(path)!r}: {reason}. Pass a text file with a template on each "
            "line, or a CSV file with the columns label and prompt."
        ) from error
    if path.suffix.lower() != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip()]
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not set(_COLUMNS) <= set(rows.fieldnames or []):
        raise OptionError(
            f"prompts (--prompts) in {str(path)!r} must have the columns label and prompt, got "
            f"{', '.join(rows.fieldnames or []) or 'none'}. Rename them."
        )
    by_label: dict[str, list[str]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row["prompt"] or "")
    return by_label
