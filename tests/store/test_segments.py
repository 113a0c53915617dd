from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.store import segments
from featx.store.segments import (
    CorruptSegmentError,
    Segment,
    find_manifests,
    remove_leftovers,
    remove_segment,
    write_segment,
)
from featx.system.files import checksummed_json
from featx.testing import faults
from featx.testing.row_store import N_FEATURES, make_digests, make_rows


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Path of the manifest of a segment of three rows."""
    path = tmp_path / f"{'a1' * 16}.json"
    write_segment(path, make_digests(range(3)), make_rows(range(3)))
    return path


def rewrite(manifest: Path, **changed: Any) -> None:
    """Change fields of a manifest and update its checksums."""
    rows = manifest.with_suffix(".npy")
    if rows.is_file():
        checksum = hashlib.blake2b(rows.read_bytes()).hexdigest()
        changed = {"bytes": rows.stat().st_size, "rows_checksum": checksum, **changed}
    manifest.write_text(checksummed_json.dump({**checksummed_json.load(manifest), **changed}))


def test_segment(manifest: Path) -> None:
    np.testing.assert_array_equal(np.load(manifest.with_suffix(".npy"), allow_pickle=False), make_rows(range(3)))
    segment = Segment(manifest, N_FEATURES)
    assert segment.nbytes == manifest.with_suffix(".npy").stat().st_size
    np.testing.assert_array_equal(segment.digests, make_digests(range(3)))
    np.testing.assert_array_equal(segment.read(np.array([2, 0, 0])), make_rows([2, 0, 0]))
    assert segment.read(np.array([], dtype=np.int64)).shape == (0, N_FEATURES)


def test_objects_are_not_unpickled(manifest: Path) -> None:
    np.save(manifest.with_suffix(".npy"), np.array([[print] * N_FEATURES] * 3, dtype=object), allow_pickle=True)
    rewrite(manifest)
    with pytest.raises(CorruptSegmentError, match="expected .* bytes"):
        Segment(manifest)


@pytest.mark.parametrize("header", ["'descr': '|O'", "'descr': '>f4'", "'fortran_order': True", "'shape': (5, 3)"])
def test_other_npy_headers_are_refused(header: str, manifest: Path) -> None:
    rows = manifest.with_suffix(".npy")
    old = {"descr": "'descr': '<f4'", "fortran": "'fortran_order': False", "shape": "'shape': (3, 5)"}
    replaced = next(text for name, text in old.items() if name in header)
    data = rows.read_bytes()
    rows.write_bytes(data.replace(replaced.encode(), header.encode().ljust(len(replaced))))
    assert rows.read_bytes() != data
    rewrite(manifest)
    with pytest.raises(CorruptSegmentError):
        Segment(manifest, N_FEATURES).read(np.array([0]))


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 10**15},
        {"rows": -1},
        {"features": 10**15},
        {"features": 0},
        {"features": -5},
        {"features": "many"},
        {"features": None},
        {"rows": 1e400},
        {"rows": 0, "digests": "", "features": 10**18},
        {"bytes": 0},
        {"digests": "zz"},
        {"digests": "00" * 17},
        {"digests": ["00"]},
        {"digests": ""},
        {"format": "one"},
        {"format": None},
        {"rows_checksum": None},
    ],
)
def test_invalid_manifest_is_corrupt(changed: dict[str, Any], manifest: Path) -> None:
    rewrite(manifest, **changed)
    with pytest.raises(CorruptSegmentError):
        Segment(manifest, N_FEATURES).read(np.array([0]))
    with pytest.raises(CorruptSegmentError):
        Segment(manifest).read(np.array([0]))


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and pipes")
@pytest.mark.parametrize("suffix", [".json", ".npy"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "device"])
def test_only_regular_files_are_opened(kind: str, suffix: str, manifest: Path) -> None:
    path = manifest.with_suffix(suffix)
    if kind == "link":
        os.replace(path, path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    else:
        path.unlink()
        {
            "dangling": lambda: path.symlink_to("absent"),
            "pipe": lambda: os.mkfifo(path),
            "folder": path.mkdir,
            "device": lambda: path.symlink_to("/dev/zero"),
        }[kind]()
    with pytest.raises(CorruptSegmentError, match="regular file"):
        Segment(manifest, N_FEATURES)


def test_truncation_after_the_first_read(tmp_path: Path) -> None:
    manifest = tmp_path / f"{'a1' * 16}.json"
    rows = np.ones((4096, 64), dtype=np.float32)
    write_segment(manifest, make_digests(range(4096)), rows)
    segment = Segment(manifest)
    segment.read(np.array([0]))
    os.truncate(manifest.with_suffix(".npy"), 200_000)
    with pytest.raises(CorruptSegmentError, match="truncated"):
        segment.read(np.arange(4096))


def test_manifest_names(tmp_path: Path, manifest: Path) -> None:
    for name in ("notes.json", "..json", f"{'A1' * 16}.json", f"{'a1' * 16}.json\n", f"{'b2' * 16}.json.corrupt"):
        (tmp_path / name).write_text("{}")
    assert find_manifests(tmp_path) == {manifest.name}
    assert find_manifests(tmp_path / "absent") == set()


def test_kill_during_removal(manifest: Path) -> None:
    folder = manifest.parent
    with faults.recording() as calls:
        remove_segment(manifest)
    assert os.listdir(folder) == []
    for index in range(len(calls)):
        write_segment(manifest, make_digests(range(3)), make_rows(range(3)))
        with pytest.raises(faults.Killed), faults.killing(index):
            remove_segment(manifest)
        remove_leftovers(folder)
        assert len(os.listdir(folder)) == (2 if index == 0 else 0)
        remove_segment(manifest)
        remove_segment(manifest)  # a second time is no error
        assert os.listdir(folder) == []


@pytest.mark.parametrize(("n_failures", "error"), [(1, None), (2, None), (3, CorruptSegmentError)])
def test_unreadable_sector(
    n_failures: int, error: type[Exception] | None, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that cannot read a file once may be a network file system that timed out."""
    monkeypatch.setattr(Segment, "retry_seconds", (0.0, 0.0))
    segment, open_file = Segment(manifest), segments.open_regular_file
    failures = [OSError(errno.EIO, os.strerror(errno.EIO))] * n_failures

    def bad(path: Path) -> Any:
        if failures:
            raise failures.pop()
        return open_file(path)

    monkeypatch.setattr(segments, "open_regular_file", bad)
    with pytest.raises(error, match="the disk cannot read it") if error else contextlib.nullcontext():
        segment.verify()


def test_file_system_that_is_away_is_no_corruption(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segment, "retry_seconds", (0.0, 0.0))
    segment = Segment(manifest)

    def bad(path: Path) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(segments, "open_regular_file", bad)
    monkeypatch.setattr(Path, "read_bytes", bad)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        segment.verify()
