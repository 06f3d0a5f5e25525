"""The words of a matrix's axes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.backends.inputs import Size
from deploymark.bench.matrix.axes import image_size

SIDES = st.integers(32, 4096)


@given(SIDES, SIDES)
def test_a_size_is_the_same_in_every_form(height: int, width: int) -> None:
    size = Size(height, width)
    assert image_size([height, width]) == size
    assert image_size(f"{height}x{width}") == size
    assert image_size(size.word) == size
    assert Size.of(size.word) == Size.of(list(size)) == size


@pytest.mark.parametrize(
    "value",
    [
        [384],
        [384, 640, 3],
        [384, True],
        [384, "640"],
        [384, 640.0],
        [],
        "384 x 640",
        "384x",
        "x640",
        "384x640x3",
        "٣٨٤x640",
        31,
        4097,
        "9999x64",
        "31x64",
        "9" * 5000,
        0,
        -320,
        True,
        None,
        1.5,
    ],
)
def test_what_is_no_size_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(ValueError, match="384x640 for height and width"):
        image_size(value)
