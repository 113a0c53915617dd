"""Messages for sources that do not exist or have no images."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from featx.images.containers.archives import ARCHIVE_SUFFIXES, is_archive
from featx.images.formats import IMAGE_SUFFIXES
from featx.images.image import no_path_reason
from featx.system.formatting import format_list, shorten


def source_not_found_message(source: str) -> str:
    """Return the error message for a source that does not exist, with the most similar name."""
    import difflib

    if source.startswith("data:"):
        return f"The source '{source[:30]}…' does not exist: {no_path_reason(source)}."
    if os.path.islink(source):
        return f"{source!r} is a link to {os.readlink(source)!r}, which does not exist. Fix or remove the link."
    parent = Path(source).parent
    try:
        names = os.listdir(parent)
    except OSError:
        names = []  # only for a hint
    similar = difflib.get_close_matches(Path(source).name, names, n=1)
    hint = f" Did you mean {str(parent / similar[0])!r}?" if similar else ""
    return f"No such folder or file: {source!r}.{hint} Check the spelling. The working directory is {os.getcwd()!r}."


def format_ignored(ignored: Mapping[str, int]) -> str:
    """Return the number of ignored files by kind as text."""
    return ", ".join(f"{count:,} {shorten(kind, 40)}" for kind, count in ignored.items())


def no_images_message(sources: Sequence[str | os.PathLike[str]], ignored: Mapping[str, int]) -> str:
    """Return the error message for sources without images."""
    job = next((os.fspath(source) for source in sources if os.path.isfile(os.path.join(source, "job.json"))), None)
    if job is not None:
        return (
            f"{job!r} is the folder of a job, which has features. For its images, merge it into a table: "
            f"featx job merge {shlex.quote(job)} -o features.parquet."
        )
    listed = ", ".join(repr(os.fspath(source)) for source in sources)
    other_files = format_ignored(dict(list(ignored.items())[:3])) or "none"
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    if any(kind in ARCHIVE_SUFFIXES for kind in ignored):
        archives = [path for source in sources for path in _archives_in(os.fspath(source))]
        example = f": {format_list(archives)}" if archives else ""
        return f"No images in {listed}, but archives. Pass these as sources{example}."
    return f"No images in {listed} (other files: {other_files}). Expected files with one of these suffixes: {suffixes}."


def _archives_in(folder: str) -> list[str]:
    paths = [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    return sorted(filter(is_archive, paths))
