from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from featx.errors import StoreError, StoreWarning
from featx.store.compiled_graphs import Graph, graph_names, graph_problem, load_graph, remove_graphs, save_graph
from featx.testing import faults

GRAPH, NAME = Graph(b"<net>" * 30, bytes(range(200))), "ab" * 8


def test_any_changed_byte_is_detected(tmp_path: Path) -> None:
    save_graph(GRAPH, tmp_path, NAME)
    assert graph_names(tmp_path) == [NAME]
    assert graph_problem(tmp_path, NAME) is None
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = [
        whole[:index] + bytes([whole[index] ^ (1 << index % 8)]) + whole[index + 1 :] for index in range(len(whole))
    ]
    for damaged in [*flipped, b"", whole[:-1], whole + b" "]:
        path.write_bytes(damaged)
        assert graph_problem(tmp_path, NAME)
        with pytest.warns(StoreWarning, match="compiled again"):
            assert load_graph(tmp_path, NAME) is None
    path.unlink()
    assert graph_problem(tmp_path, NAME) == (path, "the file is missing", False)
    assert load_graph(tmp_path, NAME) is None
    path.mkdir()
    assert graph_problem(tmp_path, NAME) == (path, "not a regular file", True)
    save_graph(GRAPH, tmp_path, NAME)  # sets the folder aside
    assert load_graph(tmp_path, NAME) == GRAPH
    os.truncate(path, 2**40)  # and nothing reads a terabyte to find out
    problem = graph_problem(tmp_path, NAME)
    assert problem is not None
    assert "bytes, does not match the manifest" in problem.reason


def test_graph_is_complete_or_missing_after_any_fault(tmp_path: Path) -> None:
    with faults.recording() as calls:
        save_graph(GRAPH, tmp_path / "clean", NAME)
    for index, call in enumerate(calls):
        folder = tmp_path / str(index)
        with faults.failing(errno.ENOSPC, call.split()[0], first=index), contextlib.suppress(StoreError):
            save_graph(GRAPH, folder, NAME)
        assert load_graph(folder, NAME) in (None, GRAPH)
        save_graph(GRAPH, folder, NAME)
        assert os.listdir(folder) == [f"{NAME}.graph"]
        assert load_graph(folder, NAME) == GRAPH


def test_graphs_of_earlier_states_are_removed(tmp_path: Path) -> None:
    for name in (f"{NAME}.json", f"{NAME}.xml", f"{NAME}.bin", f"{NAME}.graph", "own.xml"):
        (tmp_path / name).write_text("")
    remove_graphs(tmp_path)
    assert os.listdir(tmp_path) == ["own.xml"]
