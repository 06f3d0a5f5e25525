"""Whatever is wrong with a data set: a census that adds up, or one error; never anything else."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.data.datasets import Dataset, DataSource
from deploymark.bench.data.faults import OnFault
from deploymark.bench.errors import BadInputError
from tests.data_sets import HEIGHT, WIDTH, boxes_of, coco, document, load, yolo

CLASSES = 3

numbers = st.floats(0.1, 0.9).map(lambda value: f"{value:.4g}")
good_lines = st.tuples(st.integers(0, CLASSES - 1), numbers, numbers, numbers, numbers).map(
    lambda row: " ".join(map(str, row))
)
words = st.sampled_from(
    ["0", "1", "7", "-1", "0.5", "1.5", "nan", "x", "0,5", ".2", "1e400", "0x1"]
)
any_lines = st.one_of(
    good_lines,
    good_lines.map(lambda line: line.replace(" ", ",")),
    st.lists(words, max_size=12).map(" ".join),
    st.text(max_size=8).map(lambda text: " ".join(text.split())),
)


def adds_up(dataset: Dataset) -> None:
    """Everything that was read is somewhere in the census, which is that of the data set."""
    census = dataset.census
    dropped = sum(census.dropped.values())
    parts = census.boxes + census.crowd + dropped + census.rows_skipped + census.rows_elsewhere
    assert census.rows == parts
    assert census.listed == census.images + census.set_aside + census.skipped + census.beyond
    assert min(census.rows_elsewhere, census.beyond, census.skipped) >= 0
    assert census.boxes + census.crowd == boxes_of(dataset)
    assert census.images == len(dataset.scored)
    rows = sum(fault["count"] for fault in census.faults if fault["leaves_out"] == "row")
    assert rows == census.rows_skipped
    json.dumps(census.record(), allow_nan=False)
    assert len(census.lines()) == 2
    for image in dataset.scored:
        corners = image.boxes
        assert (corners[:, :2] < corners[:, 2:]).all()


def attempt(source: DataSource, on_fault: OnFault) -> Dataset | None:
    """The data set, or None where it is refused; anything else is an error of the test's."""
    try:
        return load(source, on_fault)
    except BadInputError:
        return None


def loaded(make: Callable[[], Any]) -> Dataset | None:
    """With faults skipped, the data set; None where even so it is refused, by one message."""
    source = make()
    strict, dataset = (attempt(source, on_fault) for on_fault in ("refuse", "skip"))
    if dataset is None:
        assert strict is None
        return None
    adds_up(dataset)
    assert (strict is None) == bool(dataset.census.faults)
    return dataset


def fine(words: list[str]) -> tuple[float, ...] | None:
    """The five numbers of a line that is a box by the letter of the format."""
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        return None
    whole = len(values) == 5 and all(map(math.isfinite, values)) and values[0] % 1 == 0
    inside = whole and 0 <= values[0] < CLASSES
    near = inside and all(-0.01 <= value <= 1.01 for value in values[1:])
    return values if near and min(values[3:]) > 0 else None


@given(files=st.lists(st.lists(any_lines, max_size=6), min_size=1, max_size=3))
def test_any_lines(tmp_path_factory: pytest.TempPathFactory, files: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("lines")
    dataset = loaded(lambda: yolo(folder, ["\n".join(lines) for lines in files]))
    if dataset is None:
        return
    rows = [line.split() for lines in files for line in lines if line.split()]
    assert dataset.census.rows == len(rows)
    if max(map(len, rows)) <= 5:
        found = [{fine(line.split()) for line in lines} - {None} for lines in files]
        assert dataset.census.boxes == sum(map(len, found))


damage = st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 8))


def damaged(data: bytes, where: int, new: bytes, cut: int) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + new + data[at + cut :]


@given(hurt=damage)
def test_any_bytes_in_a_label_file(
    tmp_path_factory: pytest.TempPathFactory, hurt: tuple[int, bytes, int]
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    good = b"0 .5 .5 .2 .2\n1 .3 .3 .1 .1\n"
    loaded(lambda: yolo(folder, [damaged(good, *hurt), good]))


YAML = b"""path: .
train: images/train
val: images/val
nc: 3
names: {0: cat, 1: dog, 2: bird}
kpt_shape: [2, 3]
"""


@given(hurt=st.lists(damage, min_size=1, max_size=2))
def test_any_bytes_in_a_data_yaml(
    tmp_path_factory: pytest.TempPathFactory, hurt: list[tuple[int, bytes, int]]
) -> None:
    folder = tmp_path_factory.mktemp("yaml")
    source = yolo(folder, ["0 .5 .5 .2 .2\n"])
    text = YAML
    for item in hurt:
        text = damaged(text, *item)
    (folder / "data.yaml").write_bytes(text)
    loaded(lambda: source)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 50)
    | st.floats()
    | st.sampled_from(["1", "0", "x", "", "a.png", "00.png", "\ud800", "true", "9" * 50]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
places = st.tuples(st.sampled_from(["images", "annotations", "categories"]), st.integers(0, 3))
keys = st.sampled_from(
    [
        "id",
        "file_name",
        "width",
        "height",
        "image_id",
        "category_id",
        "bbox",
        "area",
        "iscrowd",
        "name",
        "supercategory",
    ]
)


@given(changes=st.lists(st.tuples(places, keys, values, st.booleans()), min_size=1, max_size=4))
def test_any_values_in_a_coco_json(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[tuple[str, int], str, Any, bool]],
) -> None:
    boxes = [[2, 2, WIDTH / 4, HEIGHT / 2], [20, 5, 10, 10], [3, 3, 8, 9], [0, 0, 5, 5]]
    found = document(boxes, images=2)
    for (part, index), key, value, whole in changes:
        records = found[part]
        at = index % len(records)
        if whole:
            records[at] = copy.deepcopy(value)
        elif isinstance(records[at], dict):
            records[at][key] = copy.deepcopy(value)
    folder = tmp_path_factory.mktemp("coco")
    dataset = loaded(lambda: coco(folder, found))
    if dataset is not None:
        assert dataset.census.rows == len(boxes)


@given(hurt=damage)
def test_any_bytes_in_a_coco_json(
    tmp_path_factory: pytest.TempPathFactory, hurt: tuple[int, bytes, int]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    good = json.dumps(document([[2, 2, 10, 10], [20, 5, 10, 10]], images=2)).encode()
    loaded(lambda: coco(folder, damaged(good, *hurt)))
