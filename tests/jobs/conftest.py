"""Fixtures of the tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.system.files.local_folder import LocalFolder
from featx.testing import registered
from tests.jobs.fatal import Fatal
from tests.s3_server import fault, s3

__all__ = ["fault", "in_this_process", "order", "s3"]


@pytest.fixture
def order(tmp_path: Path) -> Iterator[Path]:
    """Path of the file that tells the registered backbone "fatal" what to do at a red image."""
    with registered(Fatal(tmp_path / "order")) as backbone:
        yield backbone.order


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs of local folders without worker processes, whose start takes seconds."""
    monkeypatch.setattr(LocalFolder, "is_shared", False)
