"""Verify a cache: read all of its files and report the problems. Nothing is changed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from featx.store.compiled_graphs import graph_names, graph_problem
from featx.store.file_index import FileIndex
from featx.store.layout import (
    CORRUPT_SUFFIX,
    DESCRIPTION,
    INDEX,
    OtherFormatError,
    check_format,
    corrupt_files,
    read_description,
    reading,
    recipe_folders,
)
from featx.store.segments import CorruptSegmentError, Segment, find_manifests, rows_without_manifest
from featx.system.terminal.progress import stage


@dataclasses.dataclass(frozen=True)
class Finding:
    """A problem in a cache.

    Attributes
    ----------
    path : str
    problem : str
    consequence : str
        Treatment of the file.
    is_corrupt : bool
        Whether the file is corrupt. False for leftovers and other formats.
    """

    path: str
    problem: str
    consequence: str
    is_corrupt: bool = True


def verify_cache(
    cache: Path,
    *,
    fingerprints: Collection[str] | None = None,
) -> list[Finding]:
    """Read all files of a cache and return the problems. Nothing is changed.

    Parameters
    ----------
    cache : Path
    fingerprints : collection of str or None, default=None
        Fingerprints of the recipes whose rows are read. None: all, compiled graphs and the file index included.

    Raises
    ------
    StoreError
        There is no cache, or it cannot be read.
    """
    findings: list[Finding] = []
    with reading(cache):
        folders = list(recipe_folders(cache, fingerprints))
        with stage("verify", len(folders) + (fingerprints is None), "folders") as progress:
            for folder in folders:
                progress.describe(folder.name)
                findings += _verify_recipe(cache, folder)
                progress(1)
            if fingerprints is None:
                progress.describe("compiled graphs and file index")
                findings += _verify_graphs(cache / "compiled")
                findings += _verify_index(cache / INDEX)
    return findings


def _verify_recipe(cache: Path, folder: Path) -> Iterator[Finding]:
    try:
        check_format(cache, folder)
    except OtherFormatError as error:
        yield Finding(str(folder), error.reason, error.remedy, is_corrupt=False)
        return
    for name in sorted(find_manifests(folder)):
        try:
            Segment(folder / name).verify()
        except OtherFormatError as error:
            yield Finding(str(folder / name), error.reason, error.remedy, is_corrupt=False)
        except CorruptSegmentError as error:
            if error.is_committed:  # otherwise another process has compacted it
                consequence = f"the next use renames it to *{CORRUPT_SUFFIX} and extracts its rows again"
                yield Finding(str(error.path), str(error.reason), consequence)
    if read_description(folder) is None:
        exists = os.path.lexists(folder / DESCRIPTION)
        problem = "the file is corrupt" if exists else "the file is missing"
        yield Finding(str(folder / DESCRIPTION), problem, "the next run writes it again", is_corrupt=exists)
    for path in corrupt_files(folder):
        consequence = "it is kept until you remove it with featx cache clear --corrupt-only"
        yield Finding(str(path), "quarantined corrupt file", consequence, is_corrupt=False)
    for path in rows_without_manifest(folder):
        yield Finding(
            str(path), "the manifest is missing", "its rows are extracted again; a later run removes the file"
        )


def _verify_graphs(folder: Path) -> Iterator[Finding]:
    for name in graph_names(folder):
        problem = graph_problem(folder, name)
        if problem:
            yield Finding(str(problem.path), problem.reason, "the backbone is compiled again", problem.is_corrupt)


def _verify_index(path: Path) -> Iterator[Finding]:
    check = FileIndex(path).check()
    if check.problem:
        consequence = "all files are read again once" if check.is_corrupt else "the index could not be checked"
        yield Finding(str(path), check.problem, consequence, check.is_corrupt)
