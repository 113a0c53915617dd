"""Examples of classes whose ``__module__`` is ``featx``: pytest does not collect them where they are defined."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import pytest

import featx

CLASSES = [
    name
    for name in featx.__all__
    if inspect.isclass(getattr(featx, name)) and getattr(featx, name).__module__ == "featx"
]


@pytest.mark.parametrize("name", CLASSES)
def test_examples(name: str) -> None:
    names: dict[str, Any] = vars(importlib.import_module(f"featx.{featx._MODULES[name]}")).copy()
    examples = doctest.DocTestFinder().find(getattr(featx, name), name, module=False, globs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    for example in examples:
        runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert report == []
