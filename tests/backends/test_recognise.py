"""Layouts by shape and notes: recognised without a doubt, or refused with what it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import LoadError
from deploymark.backends.inputs import Size
from deploymark.backends.layout import ReadAs
from deploymark.backends.recognise import Metadata, Reading, is_places, reading

FILE = Path("my.onnx")
NAMED = Metadata(names=tuple(map(str, range(80))), task="detect")
ONE = Metadata(names=("a",), task="detect")
RTDETR = Metadata(names=NAMED.names, task="detect", maker="Ultralytics rtdetr-l model")


def square(side: int | None) -> Size | None:
    return None if side is None else Size(side, side)


def read(found: Reading) -> tuple[str, int | None]:
    return found.output.layout, found.classes


def test_places_of_a_rectangle() -> None:
    assert is_places(5040, Size(384, 640))
    assert not is_places(8400, Size(384, 640))
    assert read(reading(FILE, (1, 84, 5040), Metadata(), size=Size(384, 640))) == ("anchors", 80)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(2100, 320, True), (6300, 320, True), (300, 320, False), (8400, 640, True), (525, 160, True)],
)
def test_places_of_a_head(count: int, size: int, *, expected: bool) -> None:
    assert is_places(count, square(size)) is expected
    assert is_places(count, None) is expected


@pytest.mark.parametrize(
    ("shape", "metadata", "size", "expected"),
    [
        ((1, 84, 2100), Metadata(), 320, ("anchors", 80)),
        ((1, 84, 2100), NAMED, 320, ("anchors", 80)),
        (("batch", 84, "anchors"), NAMED, None, ("anchors", 80)),
        ((1, 84, 21), Metadata(), 32, ("anchors", 80)),  # more classes than places
        ((1, 12, 900), Metadata(), 320, ("anchors", 8)),  # strides of somebody's own
        ((1, 2100, 84), NAMED, 320, ("anchors-last", 80)),
        ((1, 6300, 85), NAMED, 320, ("yolov5", 80)),
        ((1, 2100, 6), ONE, 320, ("yolov5", 1)),
        ((1, 300, 6), Metadata(), 320, ("detections", None)),
        ((1, 300, 6), Metadata(names=("a",), end_to_end=True), 320, ("detections", None)),
        ((1, 189, 6), Metadata(names=("a",), end_to_end=True), 96, ("detections", None)),
        ((1, 300, 6), Metadata(names=("a", "b"), nms=True), 320, ("detections", None)),
        ((1, 300, 84), RTDETR, 320, ("queries", 80)),
        ((1, 300, 6), RTDETR, 320, ("queries-ranked", None)),
    ],
)
def test_what_leaves_no_doubt(
    shape: tuple[Any, ...], metadata: Metadata, size: int | None, expected: tuple[str, int | None]
) -> None:
    found = reading(FILE, shape, metadata, size=square(size))
    assert read(found) == expected


@pytest.mark.parametrize(
    ("shape", "metadata", "words", "remedy"),
    [
        ((1, 2100, 85), Metadata(), ("YOLOv5's of 80 classes", "YOLOv8's of 81 classes"), "yolov5"),
        ((1, 2100, 85), Metadata(), ("YOLOv5's of 80", "YOLOX's of 80"), "`family: yolox`"),
        ((1, 2100, 6), Metadata(), ("finished detections", "of 1 class "), "`family: yolov10`"),
        ((1, "n", 6), Metadata(), ("finished detections",), "`family: yolov10`"),
        ((1, 2000, 6), Metadata(), ("finished detections",), "`family: yolov10`"),
        ((1, 2100, 84), ONE, ("the file names 1 class",), "`family: yolov8`"),
        ((1, 300, 84), NAMED, ("RT-DETR's of 80 classes",), "`family: ultralytics-rtdetr`"),
        ((1, 300, 7), Metadata(), ("RT-DETR's of 3",), "`family: ultralytics-rtdetr`"),
        ((1, 1000), Metadata(), ("as a classifier gives",), "as one output"),
        ((10, 7), Metadata(), ("as YOLOv7's export with NMS gives",), "as one output"),
        ((1, 255, 40, 40), Metadata(), ("a grid",), "as one output"),
        ((1, 3, 4), Metadata(), ("no list of boxes",), "(batch, 4 + classes, places)"),
    ],
)
def test_what_may_be_several_things_is_refused_with_them(
    shape: tuple[Any, ...], metadata: Metadata, words: tuple[str, ...], remedy: str
) -> None:
    with pytest.raises(LoadError) as caught:
        reading(FILE, shape, metadata, size=square(320))
    assert f"my.onnx gives an output of shape {shape}" in caught.value.message
    for part in words:
        assert part in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("family", "shape", "expected"),
    [
        ("yolov5", (1, 2100, 6), ("yolov5", 1)),
        ("yolov5", (1, 2100, 85), ("yolov5", 80)),
        ("yolov5", (1, 63, 85), ("yolov5", 80)),
        ("yolov8", (1, 2100, 84), ("anchors-last", 80)),
        ("yolov8", (1, 84, 2100), ("anchors", 80)),
        ("yolov8", (1, "n", 84), ("anchors-last", 80)),
        ("yolov8", (1, 84, "n"), ("anchors", 80)),
        ("yolov8", (1, 6, 2100), ("anchors", 2)),
        ("yolov8", (1, 2100, 6), ("anchors-last", 2)),
        ("yolov10", (1, 2100, 6), ("detections", None)),
        ("yolov10", (1, "n", 6), ("detections", None)),
        ("yolox", (1, 2100, 85), ("yolox", 80)),
        ("ultralytics-rtdetr", (1, 300, 84), ("queries", 80)),
        ("ultralytics-rtdetr", (1, 300, 6), ("queries-ranked", None)),
    ],
)
def test_a_family_decides(
    family: Any, shape: tuple[Any, ...], expected: tuple[str, int | None]
) -> None:
    found = reading(FILE, shape, Metadata(), size=square(320), told=ReadAs(family=family))
    assert read(found) == expected
    assert found.family == family


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("yolov5", (1, 85, 2100)),
        ("yolov5", (1, 2100, 5)),
        ("yolov10", (1, 2100, 84)),
        ("yolov8", (1, 2100, 4)),
        ("yolov8", (1, 4, 2100)),
        ("yolox", (1, 6300, 85)),
        ("ultralytics-rtdetr", (1, 84, 2100)),
        ("detr", (1, 300, 84)),
        ("ssd", (1, 100)),
    ],
)
def test_a_shape_that_is_not_the_familys_is_refused(family: Any, shape: tuple[Any, ...]) -> None:
    with pytest.raises(LoadError, match=f"and family: {family} is "):
        reading(FILE, shape, Metadata(), size=square(320), told=ReadAs(family=family))
