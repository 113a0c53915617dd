"""Write a plan: the images of each shard into files of its own, and last the manifest, which one client creates."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from featx.datasets.folders.layout import splits_by_name
from featx.datasets.image_listing import ImageListing, ListedImage
from featx.errors import JobError
from featx.features.job_files import FOLDERS, MANIFEST, JobManifest, plan_name, shards_per_file
from featx.jobs.job import job_exists_error
from featx.system.files.folder import Folder
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import check_no_secrets


class ShardListing:
    """Images of a source in the parts of a plan. Their number and digest are known at the end."""

    def __init__(self, images: ImageListing, *, has_split_column: bool = False) -> None:
        self._images, self._has_split_column = images, has_split_column
        self.n_images, self.has_groups = 0, False
        self._split_names: dict[str | None, None] = {}
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def splits(self) -> dict[str, str]:
        """Split by its name in the source; see :func:`splits_by_name`."""
        return splits_by_name(self._split_names, is_column=self._has_split_column)

    @property
    def digest(self) -> str:
        """Digest of all paths, labels, splits and groups, in order."""
        return self._hash.hexdigest()

    def shards(self, shard_size: int) -> Iterator[list[ListedImage]]:
        """Yield the images of each shard, in bounded memory."""
        images = self._images.images(max(100, shard_size))
        while shard := list(itertools.islice(images, shard_size)):
            self.n_images += len(shard)
            for path, label, split, group in shard:
                self._split_names[split] = None
                self.has_groups |= group is not None
                if "://" in path and ("@" in path or "=" in path or "%" in path):  # others cannot contain a secret
                    check_no_secrets(path)
                text = f"{path}\0" if label is None else f"{path}\0={label}\0"
                text += "" if split is None and group is None else f"/{split}\0{group}\0"
                self._hash.update(text.encode("utf-8", "surrogatepass"))
            yield shard


@contextlib.contextmanager
def new_plan(folder: Folder) -> Iterator[str]:
    """Yield the identifier of a new job, which is planned in the block. If that fails, nothing is left behind."""
    above = [folder.location, *map(str, Path(folder.location).parents)] if folder.is_local else []
    missing = [path for path in above if not os.path.lexists(path)]  # the deepest first
    job_id = uuid.uuid4().hex
    try:
        folder.make_folders("plan", *FOLDERS)
        if not folder.refuses_overwrite():
            raise JobError(
                f"Cannot plan a job in {folder.location!r}: this storage overwrites existing files, so workers would "
                "overwrite the rows of others. Pass a folder or a URL of s3://."
            )
        yield job_id
    except BaseException:
        with contextlib.suppress(OSError):  # the first error matters more
            # A fault may come after the manifest got its name.
            is_committed = folder.exists(MANIFEST) and job_id.encode() in folder.read(MANIFEST)
            for name in folder.names("plan") if not is_committed else ():
                if job_id in name:
                    folder.remove(f"plan/{name}")
        for path in [*(folder.path(name) for name in ("plan", *FOLDERS)), *missing] if folder.is_local else ():
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(path)
        raise


def write_plan(folder: Folder, job_id: str, shard_size: int, tables: Iterable[Any]) -> None:
    """Write the tables of all shards, each into a row group of a file."""
    remaining, writer = iter(tables), import_pyarrow().parquet.ParquetWriter
    for number in itertools.count():
        first = next(remaining, None)
        if first is None:
            return
        with folder.scratch("plan") as temporary:  # its name may not be UTF-8, as paths of pyarrow must be
            group = itertools.chain([first], itertools.islice(remaining, shards_per_file(shard_size) - 1))
            with temporary.open("xb") as sink, writer(sink, first.schema, write_statistics=False) as file:
                for table in group:
                    file.write_table(table, row_group_size=shard_size)
            folder.replace(plan_name(number, job_id), temporary)


def commit_plan(folder: Folder, manifest: JobManifest) -> None:
    """Write the manifest, unless another client has been faster; remove the plans of clients that were killed."""
    if not folder.create(MANIFEST, manifest.as_bytes()):
        raise job_exists_error(folder)
    for name in folder.names("plan"):
        if manifest.id not in name:
            folder.remove(f"plan/{name}")
