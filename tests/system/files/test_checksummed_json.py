from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.system.files import checksummed_json as sealed

_VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.just('"seal": "'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text().filter(lambda name: name != "seal"), _VALUES, max_size=5))
@settings(max_examples=100, deadline=None)
def test_what_was_sealed_comes_back(fields: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.json"
    for indent in (None, 2):
        path.write_text(sealed.dump(fields, indent), encoding="utf-8")
        assert sealed.load(path) == fields
        assert {**fields, "seal": json.loads(path.read_text(encoding="utf-8"))["seal"]} == json.loads(path.read_bytes())


def test_no_change_of_a_byte_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    data = sealed.dump({"format": 1, "rows": 3}).encode()
    for at in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
            with pytest.raises(sealed.DAMAGE):
                sealed.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"seal": "', b"[" * 100_000, b'{"seal": "' + b"0" * 32 + b'"}', b"\xff" * 50]
)
def test_what_is_no_sealed_file_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(sealed.DAMAGE):
        sealed.load(tmp_path / "a.json")


def test_a_well_sealed_bomb_of_brackets_is_damage(tmp_path: Path) -> None:
    bomb = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "seal": "' + b"0" * 32 + b'"}'
    sealed_bomb = bomb.replace(b"0" * 32, sealed._seal(bomb))
    (tmp_path / "a.json").write_bytes(sealed_bomb)
    with pytest.raises(sealed.DAMAGE):
        sealed.load(tmp_path / "a.json")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if kind == "link":
        (tmp_path / "other.json").write_text(sealed.dump({}))
        path.symlink_to(tmp_path / "other.json")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ValueError, match="no regular file"):
        sealed.load(path)
