from __future__ import annotations

from typing import Any

import pytest

from featx.backbones.files.safe_config import find_unsafe_part


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"class_name": "mypkg>Mine", "config": {}}, "'mypkg>Mine' of the package 'mypkg'"),
        (
            {"class_name": "Mine", "config": {}, "module": None, "registered_name": "Mine"},
            "'Mine', which is not part of Keras",
        ),
        ({"class_name": "keras>Known", "config": {}}, ""),
        (
            {"class_name": "LayerScale", "module": "keras.src.applications.convnext", "registered_name": None},
            "",
        ),
        (
            {"class_name": "ConvNeXtTiny", "module": "keras.src.applications.convnext", "registered_name": None},
            "'ConvNeXtTiny' of the module 'keras.src.applications.convnext'",
        ),
        ({"class_name": "Dense", "config": {}, "name": "a"}, ""),
    ],
)
def test_custom_objects_are_found(part: dict[str, Any], reason: str) -> None:
    problem = find_unsafe_part({"layers": [part]})
    assert problem.startswith(reason)
    assert bool(problem) == bool(reason)
