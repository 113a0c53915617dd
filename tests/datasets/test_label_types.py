from __future__ import annotations

from pathlib import Path

import pytest

from featx import find_images
from featx.datasets.label_types import LabelTypeInferrer
from featx.errors import SourceError


@pytest.mark.parametrize("step", [2, 1000, -7, 10**12])
@pytest.mark.parametrize(("n_each", "label_type"), [(4, "float"), (6, "int")])
def test_rare_integers_are_continuous(step: int, n_each: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer()
    labels = [str(number * step) for number in range(5000)] * n_each
    for start in range(0, len(labels), 1000):
        inferrer.add(labels[start : start + 1000])
    assert inferrer.label_type("t.csv") == label_type


@pytest.mark.parametrize(("n_each", "label_type"), [(4, "float"), (5, "int")])
def test_many_distinct_integers_are_counted_exactly(n_each: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer()
    for number in range(5, 110_005):  # in chunks of five, as rows of a table arrive
        inferrer.add([str(number)] * n_each)
    assert inferrer._count()[1].tolist() == [n_each] * 110_000
    assert inferrer.label_type("t.csv") == label_type


@pytest.mark.parametrize(("n_distinct", "label_type"), [(1, "int"), (20, "int"), (21, "float"), (500, "float")])
def test_repeated_integers_count_once(n_distinct: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer()
    for _ in range(2):
        inferrer.add([str(3 * number) for number in range(n_distinct)])
    assert inferrer.label_type("t.csv") == label_type


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("n_each", "label_type"), [(1, "float"), (2, "int")])
def test_class_numbers_without_gaps_are_classes(first: int, n_each: int, label_type: str) -> None:
    inferrer = LabelTypeInferrer()
    for _ in range(n_each):
        inferrer.add([str(number) for number in range(first, 40)])
    assert inferrer.label_type("t.csv") == label_type


def test_no_labels_are_text() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add([None, None])
    assert inferrer.label_type("t.csv") == "str"


def test_positive_and_negative_zero_are_one_value() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add(["0", "-0", "0.0"])
    assert inferrer._count()[1].tolist() == [3]


def test_numbers_beside_text_are_not_counted() -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add(["1", "2", "cat"])
    inferrer.add([str(number) for number in range(1000)])
    assert len(inferrer._count()[0]) <= 2
    assert inferrer.label_type("t.csv") == "str"


@pytest.mark.parametrize(
    ("written", "expected", "note"),
    [
        (["1,5", "2,25"], [1.5, 2.25], "a decimal comma"),
        (["0,125", "2,250"], [0.125, 2.25], "a decimal comma"),
        (["1.234,5", "2.000"], [1234.5, 2000.0], "a decimal comma"),
        (["1,234.5", "2,000"], [1234.5, 2000.0], "commas between thousands"),
        (["1,234,567", "2,000.5"], [1234567.0, 2000.5], "commas between thousands"),
        (["1,234", "7.5"], [1234.0, 7.5], "commas between thousands"),
        (["1.234", "2.5"], [1.234, 2.5], ""),
        (["1.234", "0.500"], [1.234, 0.5], ""),
        (["1.234", "2.500.000"], [1234.0, 2_500_000.0], "points between thousands"),
        (["1\u202f234,5", "2 500", "12"], [1234.5, 2500.0, 12.0], "a decimal comma"),
        (["1'234.5", "2’500"], [1234.5, 2500.0], ""),
        (["\u22121.5", "2"], [-1.5, 2.0], ""),
        (["1e-3", "2.5E2"], [0.001, 250.0], ""),
        (["-1,5", "+2,5"], [-1.5, 2.5], "a decimal comma"),
    ],
    ids=str,
)
def test_one_decimal_sign_for_all(written: list[str], expected: list[float], note: str) -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add(written)
    assert inferrer.convert(written, "t.csv") == expected
    assert note in " ".join(inferrer.notes())
    assert bool(note) == bool(inferrer.notes())


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            ["1,234", "2,500"],
            r"in '1,234' the comma may separate decimals or thousands. Write thousands without a separator "
            r"\(1234\), or decimals with a point and more digits \(1\.2340\)",
        ),
        (["999", "1.234"], "in '1.234' the point may separate decimals or thousands"),
        (["1,5", "2.5"], "the decimal signs of '1,5' and '2.5' differ. Write all numbers with a decimal point"),
        (["1,234.5", "1.234,5"], "the decimal signs of '1,234.5' and '1.234,5' differ"),
    ],
    ids=str,
)
def test_ambiguous_decimal_signs_are_errors(written: list[str], words: str) -> None:
    inferrer = LabelTypeInferrer()
    inferrer.add([*written, "7"])
    with pytest.raises(SourceError, match=words):
        inferrer.label_type("t.csv")


def test_numbers_that_were_written_as_numbers_have_decimal_points(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"path": "a.jpg", "label": 1.234}\n{"path": "b.jpg", "label": 2.125}\n')
    assert find_images(tmp_path / "t.jsonl").labels == [1.234, 2.125]
    (tmp_path / "t.csv").write_text("path,label\na.jpg,1.234\nb.jpg,2.125\n")
    with pytest.raises(SourceError, match=r"\(1\.2340\)"):
        find_images(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path,label\na.jpg,1.2340\nb.jpg,2.125\n")  # the remedy
    assert find_images(tmp_path / "t.csv").labels == [1.234, 2.125]
