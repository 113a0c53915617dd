from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.backbones.preprocessing import (
    Preprocessing,
    check_integer_input,
    format_preprocessing,
    parse_preprocessing,
    warn_extreme_pixels,
)
from featx.errors import FeatxWarning, OptionError


@pytest.mark.parametrize(
    "wrong", ["tff", "1/0", "1,2/3", (1,), (1, 2, 3), ((1, 2), 3), ("a", "b"), (0, float("nan")), 7]
)
def test_invalid_preprocessing(wrong: Any) -> None:
    with pytest.raises(OptionError, match="must be 'tf' .*'caffe', 'none'"):
        parse_preprocessing(wrong)


@pytest.mark.parametrize(
    "value",
    ["tf", "torch", "caffe", "none", (0.5, (1, 2, 3)), "1/2", (1 / 3, 65535.12345), (np.ones(3), np.float32(2))],
    ids=["tf", "torch", "caffe", "none", "numbers", "text", "digits", "numpy"],
)
def test_text_roundtrip(value: Any) -> None:
    preprocessing = parse_preprocessing(value)
    assert Preprocessing.from_text(preprocessing.text) == preprocessing


@pytest.mark.parametrize(("value", "name"), [("torch", "torch"), ((0, 255), "0/255"), ("1,2,1/3", "1,2,1/3")])
def test_format_preprocessing(value: Any, name: str) -> None:
    assert format_preprocessing(parse_preprocessing(value).text) == name


@pytest.mark.parametrize(
    ("takes", "value", "remedy"),
    [
        ("uint8", "tf", "from 0 to 255 .uint8.*from -1 to 1.*'none' if the network scales"),
        ("uint8", (0, 255), "'none'"),
        ("int64", "caffe", "'none'"),
        ("int8", "none", "(128, 1)"),
        ("uint8", "none", None),
        ("int8", (128, 1), None),
        ("float32", "tf", None),
    ],
)
def test_integer_input(takes: str, value: Any, remedy: str | None) -> None:
    steps = parse_preprocessing(value)
    if remedy is None:
        check_integer_input(steps, "a.onnx", takes)
        return
    with pytest.raises(OptionError, match=remedy):
        check_integer_input(steps, "a.onnx", takes)


def test_extreme_pixels_warn(recwarn: pytest.WarningsRecorder) -> None:
    for fine in ("tf", "torch", "caffe", "none", (0, 255)):
        warn_extreme_pixels(parse_preprocessing(fine), "a.onnx")
    assert not recwarn
    with pytest.warns(FeatxWarning, match="'a.onnx' gets pixels from -2.11.* to 1,111.* multiply a mean and scale"):
        warn_extreme_pixels(parse_preprocessing((0.485, 0.229)), "a.onnx")
