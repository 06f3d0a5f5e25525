from __future__ import annotations

import pytest

from deploymark.bench.data.class_names import compare_classes, match_names
from deploymark.bench.errors import BadInputError

MODEL = ("cat", "dog", "bird")


def test_what_one_side_alone_has_is_told_with_its_boxes() -> None:
    names = ("Cat", "doggy", "unused", "xyz")
    match = compare_classes("d", {0: 5, 1: 3, 3: 1}, names, MODEL, match_names(names, MODEL))
    assert match.only_in_data == (
        {"name": "doggy", "boxes": 3, "did_you_mean": "dog"},
        {"name": "xyz", "boxes": 1, "did_you_mean": None},
    )
    assert match.only_in_model == ("dog", "bird")
    assert match.boxes_not_scored == 4
    assert match.remarks() == [
        (
            "4 of classes that the model does not have, not scored: 'doggy' (3; did you mean"
            " 'dog'?), 'xyz' (1)"
        ),
        "2 classes of the model not in the data: dog, bird",
    ]


def test_equal_lists_and_no_names_match() -> None:
    assert compare_classes("d", {0: 1}, MODEL, MODEL, match_names(MODEL, MODEL)).remarks() == []
    assert compare_classes("d", {}, (), MODEL, match_names((), MODEL)).remarks() == []


def test_no_box_of_a_common_class_is_refused() -> None:
    names = ("cat", "widget")
    with pytest.raises(
        BadInputError, match=r"none of its 7 boxes .*'widget' \(7\); in common are cat"
    ):
        compare_classes("d", {1: 7}, names, MODEL, match_names(names, MODEL))
