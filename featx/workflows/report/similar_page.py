"""What was found for images, as one self-contained HTML page with thumbnails."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.datasets.labels import is_missing
from featx.errors import MissingDependencyError
from featx.features.matrix import FeatureMatrix
from featx.images.image import file_state
from featx.images.thumbnails import MAX_THUMBNAILS, Atlas, make_atlas
from featx.system.files import remote
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error
from featx.system.formatting import format_count, shorten
from featx.system.version import __version__

#: Images that are looked for on a page; beyond them, it would be long and slow.
MOST_ANSWERS = 200
#: And images that are shown on it: thumbnails get smaller, but names do not.
_MOST_SHOWN = 5000


def most_answers(top: int) -> int:
    """Return how many images are looked for on a page, if so many are found for each."""
    return max(1, min(MOST_ANSWERS, _MOST_SHOWN // (top + 1)))


def write_similar(
    path: Path,
    answers: Sequence[Any],
    features: FeatureMatrix,
    index: str,
    *,
    command: str = "",
    n_left_out: int = 0,
) -> None:
    """Write what was found as one HTML page that needs nothing else, whole or not at all.

    Parameters
    ----------
    path : Path
    answers : sequence of featx.workflows.similar.Answer
    features : FeatureMatrix
        Where they were found.
    index : str
        What was searched, in words.
    command : str, default=""
        What repeats it.
    n_left_out : int, default=0
        Images that were looked for and are not among the answers.

    Raises
    ------
    OutputError
        The file cannot be written.
    MissingDependencyError
        Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError(f"The page needs {error.name}. Install it: pip install jinja2.") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    answers, cut = _as_fits(answers)
    readable = [answer for answer in answers if not answer.error]
    located = features.resolve_path
    paths = [one for answer in readable for one in (answer.path, *(located(found.path) for found in answer.found))]
    paths = list(dict.fromkeys(paths))[:MAX_THUMBNAILS]
    atlas = make_atlas(paths)
    with open(os.path.join(os.path.dirname(__file__), "page.css"), encoding="utf-8") as file:
        style = file.read()
    numbers = {name: number for number, name in enumerate(paths)}
    n_absent = sum(not _is_there(name) for name in paths)
    text = environment.get_template("similar.html.jinja").render(
        title=f"Similar images in {shorten(features.address)}",
        summary=f"{format_count(len(readable), 'image')} looked for among {format_count(len(features), 'row')}: "
        f"{index}.",
        notes=_notes(features, readable, n_absent, len(paths), n_left_out) + cut,
        answers=[_shown(answer, features, numbers, atlas) for answer in readable],
        unreadable=[(answer.path, answer.error) for answer in answers if answer.error],
        atlas=atlas,
        style=style,
        command=command,
        version=__version__,
    )
    with as_output_error(path):
        write_text(path, text, errors="replace")


def _notes(features: FeatureMatrix, readable: Sequence[Any], n_absent: int, n_shown: int, n_left_out: int) -> list[str]:
    notes = []
    if not features.is_complete:
        notes.append("The job is not finished: only the rows that are there were searched.")
    if n_absent:
        notes.append(
            f"{n_absent:,} of {format_count(n_shown, 'image')} are no longer where they were extracted from, "
            f"and grey here."
        )
    if any(_is_relative(found.path) for answer in readable for found in answer.found):
        notes.append(f"Relative paths of images that were found start at {features.folder or os.getcwd()}.")
    if any(_is_relative(answer.path) for answer in readable) and features.folder not in (None, os.getcwd()):
        notes.append(f"Relative paths of images that were looked for start at {os.getcwd()}.")
    if n_left_out:
        notes.append(
            f"{format_count(n_left_out, 'image')} more were looked for, and are left out here: -o or --json has all."
        )
    return notes


def _as_fits(answers: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return answers with no more of what was found than a page can show, and what is to be said of that."""
    most = max(1, _MOST_SHOWN // max(1, len(answers)))
    shown = [dataclasses.replace(answer, found=answer.found[:most]) for answer in answers]
    if all(len(answer.found) <= most for answer in answers):
        return shown, []
    return shown, [f"Of what was found for each image, the first {most:,} are shown: -o or --json has all."]


def _is_relative(path: str) -> bool:
    return not (remote.is_url(path) or os.path.isabs(path))


def _shown(answer: Any, features: FeatureMatrix, numbers: dict[str, int], atlas: Atlas) -> dict[str, Any]:
    def tile(path: str, number: int | None, words: str, label: str = "", *, is_same: bool = False) -> dict[str, Any]:
        corner = None if number is None else atlas.corner(number)
        return {"name": shorten(path, 200), "words": words, "label": label, "corner": corner, "is_same": is_same}

    found = [
        tile(
            one.shown_path,
            numbers.get(features.resolve_path(one.path)),
            f"{one.cosine:.3f}",
            "" if is_missing(one.label) else str(one.label),
            is_same=one.is_same,
        )
        for one in answer.found
    ]
    return {"query": tile(answer.path, numbers.get(answer.path), "looked for"), "found": found}


def _is_there(path: str) -> bool:
    if remote.is_url(path):
        return True  # it would have to be asked for once more
    try:
        file_state(path)
    except (OSError, ValueError):
        return False
    return True
