from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from featx import load_backbone
from featx.backbones.files.model_source import ModelSource
from featx.errors import UnknownBackboneError, WeightsError
from tests.backbones.networks import Array, rows, save_onnx


def test_external_data_belongs_to_onnx_file(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    (tmp_path / "out").mkdir()
    external = {"save_as_external_data": True, "size_threshold": 100, "convert_attribute": False}
    onnx.save(model, tmp_path / "out" / "a.onnx", location=f"{'a' * 150}.data", **external)
    first = rows(tmp_path / "out" / "a.onnx", pixels)
    np.testing.assert_allclose(first, rows(tmp_path / "a.onnx", pixels), atol=1e-5)
    data = np.fromfile(tmp_path / "out" / f"{'a' * 150}.data", dtype=np.float32)
    (data * 2).tofile(tmp_path / "out" / f"{'a' * 150}.data")
    assert np.abs(rows(tmp_path / "out" / "a.onnx", pixels) - first).max() > 0.1
    (tmp_path / "out" / f"{'a' * 150}.data").unlink()
    with pytest.raises(
        UnknownBackboneError, match=r"without 'a+\.data', which holds its weights: No such file.*Copy it"
    ):
        rows(tmp_path / "out" / "a.onnx", pixels)


def test_metadata_is_not_external_data(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    for length in (5, 200):
        onnx.helper.set_model_props(model, {"location": "P" * length})
        onnx.save(model, tmp_path / "a.onnx")
        assert rows(tmp_path / "a.onnx", pixels).shape == (11, 5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.onnx")
    with pytest.raises(UnknownBackboneError, match="not a regular file"):
        load_backbone(str(tmp_path / "a.onnx"))


def test_digest_depends_on_format_and_revision(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.h5", "a.hdf5", "a.onnx"):
        (tmp_path / name).write_bytes(b"both")
        digests.add(ModelSource.open(str(tmp_path / name)).digest)
    assert len(digests) == 2
    assert ModelSource.open(str(tmp_path / "a.onnx"), revision=10**6).digest not in digests


def test_openvino_file_requires_bin_and_net(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?><net name="a" version="11"></net>')
    with pytest.raises(UnknownBackboneError, match=r"Cannot read .* without 'a\.bin', which holds.*next to the \.xml"):
        ModelSource.open(str(tmp_path / "a.xml"))
    (tmp_path / "page.xml").write_text("<html></html>")
    with pytest.raises(WeightsError, match="is not a network in OpenVINO's format: no <net>"):
        ModelSource.open(str(tmp_path / "page.xml"))
