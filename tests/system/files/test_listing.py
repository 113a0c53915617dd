from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from featx.features.npy_part import FeaturePlace
from featx.jobs.storage import Place


@pytest.fixture
def vanishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a, b and c, of which b goes away as it is listed; and of a file that is being written."""
    for name in ("a", "b", "c", ".featx-host-1-00000000-00000000.tmp"):
        (tmp_path / "job" / "shards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / "shards" / name).write_bytes(name.encode())
    scandir = os.scandir

    class Listed:
        def __init__(self, folder: str) -> None:
            self._entries = list(scandir(folder))
            (Path(folder) / "b").unlink(missing_ok=True)

        def __enter__(self) -> Iterator[Any]:
            return iter(self._entries)

        def __exit__(self, *error: object) -> None:
            pass

        def __iter__(self) -> Iterator[Any]:
            return iter(self._entries)

    monkeypatch.setattr(os, "scandir", Listed)
    return tmp_path / "job"


def test_a_file_that_vanishes_costs_no_other(vanishing: Path) -> None:
    assert Place(vanishing).listed("shards") == {"a": 1, "c": 1}


def test_a_file_that_vanishes_costs_no_other_feature(vanishing: Path) -> None:
    assert FeaturePlace(str(vanishing)).sizes("shards") == {"a": 1, "c": 1}


def test_what_is_being_written_is_not_listed(vanishing: Path) -> None:
    assert Place(vanishing).names("shards") <= {"a", "b", "c"}
    assert Place(vanishing).listed("absent") == {} == FeaturePlace(str(vanishing)).sizes("shards/a")


def test_what_storage_said_before_is_asked_again() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.get_filesystem_class("memory")

    class Keeping(memory):  # type: ignore[misc, valid-type]  # a class made by a function
        """As storage of Azure: listings are kept, and `refresh` is not known."""

        protocol = "keeping"
        store: ClassVar[dict[str, Any]] = {}
        kept: ClassVar[dict[str, Any]] = {}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.partition("://")[2].strip("/") if "://" in path else path

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            if path not in self.kept:
                self.kept[path] = super().ls(path, detail=True)
            return self.kept[path] if detail else [one["name"] for one in self.kept[path]]

        def invalidate_cache(self, path: str | None = None) -> None:
            self.kept.clear()

    fsspec.register_implementation("keeping", Keeping, clobber=True)
    places = [Place("keeping://bucket/job"), FeaturePlace("keeping://bucket/job")]
    for number in range(3):  # others write there, and do not tell what keeps the listings
        Keeping.store[f"/bucket/job/shards/{number}"] = fsspec.implementations.memory.MemoryFile(
            None, f"/bucket/job/shards/{number}", bytes(number)
        )
        for place in places:
            names = place.listed("shards") if isinstance(place, Place) else place.sizes("shards")
            assert names == {str(known): known for known in range(number + 1)}
        assert Place("keeping://bucket/job").folders() == {"shards"}
    assert not Place("keeping://bucket/job").is_empty()
