from __future__ import annotations

from pathlib import Path

import PIL.Image

from featx.datasets.sample_images import write_sample_images


def test_photos_are_different_and_kept(tmp_path: Path) -> None:
    paths = write_sample_images(tmp_path, 6, 160, 120, 85)
    contents = [Path(path).read_bytes() for path in paths]
    assert len(set(contents)) == 6
    with PIL.Image.open(paths[0]) as photo:
        assert photo.size == (160, 120)
    Path(paths[3]).unlink()
    assert [Path(path).read_bytes() for path in write_sample_images(tmp_path, 6, 160, 120, 85)] == contents
