"""Folders of jobs, written without featx."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def make_job(
    folder: Path,
    rows: np.ndarray[Any, Any],
    *,
    shard_size: int = 10,
    paths: Sequence[str | bytes] | None = None,
    labels: Sequence[Any] | None = None,
    digests: Sequence[str | None] | None = None,
    failed: Sequence[int] = (),
    committed: Sequence[int] | None = None,
    recipe: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """Write a job with a row for each image that has not failed; shards may be missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_images = len(rows)
    n_shards = -(-n_images // shard_size)
    paths = [f"photos/{index:05}.jpg" for index in range(n_images)] if paths is None else paths
    labels = [None] * n_images if labels is None else labels
    (folder / "shards").mkdir(parents=True)
    for shard in range(n_shards) if committed is None else committed:
        here = range(shard * shard_size, min(n_images, (shard + 1) * shard_size))
        done = [index for index in here if index not in failed]
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(rows[done], dtype=np.float32))
        checksum = hashlib.blake2b(buffer.getvalue()).hexdigest()
        (folder / "shards" / f"{shard:08}-{checksum}.npy").write_bytes(buffer.getvalue())
        facts = {
            **{"format": 4, "job": "1d", "shard": shard, "fingerprint": "f00d"},
            **{"rows": len(done), "failed": len(here) - len(done)},
            **{"checksum": checksum, "computed": len(done), "cached": 0},
            **{"padded": 0, "changed": 0, "seconds": 1.0},
        }
        of_bytes = [isinstance(paths[index], bytes) for index in here]
        found = {
            "path": pa.array(
                [
                    str(paths[at], "utf-8", "replace") if raw else paths[at]
                    for at, raw in zip(here, of_bytes, strict=True)
                ],
                pa.string(),
            ),
            "path_bytes": pa.array(
                [paths[at] if raw else None for at, raw in zip(here, of_bytes, strict=True)], pa.binary()
            ),
            "label": pa.array([labels[index] for index in here]),
            "digest": pa.array([None if digests is None else digests[index] for index in here], pa.string()),
            "status": pa.array(["failed" if index in failed else "done" for index in here], pa.string()),
            "reason": pa.array(["it is empty" if index in failed else None for index in here], pa.string()),
            "error": pa.array(["UnreadableImageError" if index in failed else None for index in here], pa.string()),
        }
        table = pa.table(found).replace_schema_metadata({b"featx": json.dumps(facts)})
        pq.write_table(table, folder / "shards" / f"{shard:08}.parquet")
    job = {
        **{"format": 4, "id": "1d", "featx": "0.1.0", "recipe": recipe or {"backbone": "none"}, "fingerprint": "f00d"},
        **{"n_features": rows.shape[1], "options": options or {}, "source": ["photos"], "shard_size": shard_size},
        **{
            "n_images": n_images,
            "n_shards": n_shards,
            "folder": str(folder.parent),
            "labels": "str",
            "splits": {},
            "has_groups": False,
        },
        **{"source_options": {}, "listed": "", "shards_per_file": 1000},
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder
