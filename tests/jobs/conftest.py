"""Fixtures of the tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from featx import plan_job
from featx.cli import main as cli
from featx.system.files.local_folder import LocalFolder
from featx.testing import registered
from tests.jobs.fatal import Fatal, write_images
from tests.s3_server import fault, s3

__all__ = ["fault", "images", "in_this_process", "order", "quiet_logger", "s3"]


@pytest.fixture
def order(tmp_path: Path) -> Iterator[Path]:
    """Path of the file that controls the backbone "fatal" at a red image."""
    with registered(Fatal(tmp_path / "order")) as backbone:
        yield backbone.order


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs of local folders without worker processes, whose start takes seconds."""
    monkeypatch.setattr(LocalFolder, "is_shared", False)


@pytest.fixture
def quiet_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command line from changing the logger of this process."""
    monkeypatch.setattr(cli, "show_messages", lambda *_: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """20 images in two class folders, the 8th of class a is red, and one unreadable file."""
    folder = write_images(tmp_path / "images", 20, red=14)
    (folder / "b" / "0009.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def cluster_job(tmp_path: Path, order: Path) -> Path:
    """A job of ten shards of four images, in a folder that the workers of a cluster share."""
    images = write_images(tmp_path / "images", 40, red=14)
    (images / "b" / "0009.png").write_bytes(b"no image")
    plan_job(images, tmp_path / "job", backbone="fatal", shard_size=4, sample=0)
    return tmp_path / "job"
