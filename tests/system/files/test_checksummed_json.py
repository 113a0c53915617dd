from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.system.files import checksummed_json

_VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.just('"checksum": "'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_ZEROS = b"0" * 32


@given(fields=st.dictionaries(st.text().filter(lambda name: name != "checksum"), _VALUES, max_size=5))
@settings(max_examples=100, deadline=None)
def test_round_trip(fields: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("files") / "a.json"
    for indent in (None, 2):
        path.write_text(checksummed_json.dump(fields, indent), encoding="utf-8")
        assert checksummed_json.load(path) == fields
        plain = json.loads(path.read_bytes())
        assert {**fields, "checksum": plain["checksum"]} == plain


def test_every_changed_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    data = checksummed_json.dump({"format": 1, "rows": 3}).encode()
    for index in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:index] + bytes([data[index] ^ (1 << bit)]) + data[index + 1 :])
            with pytest.raises(checksummed_json.CORRUPT):
                checksummed_json.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"checksum": "', b"[" * 100_000, b'{"checksum": "' + _ZEROS + b'"}', b"\xff" * 50],
)
def test_file_without_checksum_is_corrupt(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(checksummed_json.CORRUPT):
        checksummed_json.load(tmp_path / "a.json")


def test_deep_nesting_with_valid_checksum_is_corrupt(tmp_path: Path) -> None:
    fields = {"a": []}
    text = checksummed_json.dump(fields).encode().replace(b"[]", b"[" * 100_000 + b"]" * 100_000)
    start = text.index(b'"checksum": "') + len(b'"checksum": "')
    blank = text[:start] + _ZEROS + text[start + 32 :]
    (tmp_path / "a.json").write_bytes(blank.replace(_ZEROS, checksummed_json._checksum(blank)))
    with pytest.raises(checksummed_json.CORRUPT):
        checksummed_json.load(tmp_path / "a.json")


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if kind == "link":
        (tmp_path / "other.json").write_text(checksummed_json.dump({}))
        path.symlink_to(tmp_path / "other.json")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ValueError, match="not a regular file"):
        checksummed_json.load(path)
