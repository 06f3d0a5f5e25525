from __future__ import annotations

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.selection import matches

CELL = "yolo11n-l1_50-int8-openvino-cpu-320"


@pytest.mark.parametrize(
    ("expression", "hit"),
    [
        ("", True),
        ("openvino", True),
        ("OpenVINO", True),
        ("not openvino", False),
        ("int8 and openvino", True),
        ("int8 and torch", False),
        ("torch or int8", True),
        ("not (torch or int8)", False),
        ("(torch or int8) and not fp32", True),
        ("torch or int8 and fp32", False),
        ("l1_50-int8", True),
        ("not not int8", True),
    ],
)
def test_expressions(expression: str, hit: bool) -> None:
    assert matches(expression, CELL) is hit


@pytest.mark.parametrize(
    "expression", ["and", "int8 and", "(int8", "int8)", "int8 torch", "not", "()"]
)
def test_malformed_expressions_are_bad_input(expression: str) -> None:
    with pytest.raises(BadInputError, match="-k"):
        matches(expression, CELL)
