from __future__ import annotations

import os
from pathlib import Path

import pytest

from featx.errors import StoreWarning
from featx.store.compiled_graphs import Graph, graph_names, graph_problem, load_graph, save_graph


def test_any_changed_byte_is_detected(tmp_path: Path) -> None:
    graph, name = Graph(b"<net>" * 30, bytes(range(200))), "ab" * 8
    save_graph(graph, tmp_path, name)
    assert graph_names(tmp_path) == [name]
    assert graph_problem(tmp_path, name) is None
    for suffix in (".xml", ".bin", ".json"):
        path = tmp_path / (name + suffix)
        whole = path.read_bytes()
        flipped = [
            whole[:index] + bytes([whole[index] ^ (1 << index % 8)]) + whole[index + 1 :] for index in range(len(whole))
        ]
        for damaged in [*flipped, b"", whole[:-1], whole + b" "]:
            path.write_bytes(damaged)
            assert graph_problem(tmp_path, name)
            with pytest.warns(StoreWarning, match="compiled again"):
                assert load_graph(tmp_path, name) is None
        path.unlink()
        assert graph_problem(tmp_path, name) == (path, "the file is missing", suffix != ".json")
        assert load_graph(tmp_path, name) is None
        path.mkdir()
        assert graph_problem(tmp_path, name) == (path, "not a regular file", True)
        save_graph(graph, tmp_path, name)  # sets the folder aside
        assert graph_problem(tmp_path, name) is None
    assert load_graph(tmp_path, name) == graph
    os.truncate(tmp_path / f"{name}.bin", 2**40)  # and nothing reads a terabyte to find out
    problem = graph_problem(tmp_path, name)
    assert problem is not None
    assert "bytes, does not match the manifest" in problem.reason
