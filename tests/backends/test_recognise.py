"""Layouts by shape and notes: recognised without a doubt, or refused with what it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import LoadError
from deploymark.backends.layout import ReadAs
from deploymark.backends.recognise import Metadata, Reading, is_places, reading, several

FILE = Path("my.onnx")
NAMED = Metadata(names=tuple(map(str, range(80))), task="detect")
ONE = Metadata(names=("a",), task="detect")


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(2100, 320, True), (6300, 320, True), (300, 320, False), (8400, 640, True), (525, 160, True)],
)
def test_places_of_a_head(count: int, size: int, *, expected: bool) -> None:
    assert is_places(count, size) is expected
    assert is_places(count, None) is expected


@pytest.mark.parametrize(
    ("shape", "metadata", "size", "expected"),
    [
        ((1, 84, 2100), Metadata(), 320, Reading("anchors", 80)),
        ((1, 84, 2100), NAMED, 320, Reading("anchors", 80)),
        (("batch", 84, "anchors"), NAMED, None, Reading("anchors", 80)),
        ((1, 84, 21), Metadata(), 32, Reading("anchors", 80)),  # more classes than places
        ((1, 12, 900), Metadata(), 320, Reading("anchors", 8)),  # strides of somebody's own
        ((1, 2100, 84), NAMED, 320, Reading("anchors-last", 80)),
        ((1, 6300, 85), NAMED, 320, Reading("yolov5", 80)),
        ((1, 2100, 6), ONE, 320, Reading("yolov5", 1)),
        ((1, 300, 6), Metadata(), 320, Reading("detections")),
        ((1, 300, 6), Metadata(names=("a",), end_to_end=True), 320, Reading("detections")),
        ((1, 189, 6), Metadata(names=("a",), end_to_end=True), 96, Reading("detections")),
        ((1, 300, 6), Metadata(names=("a", "b"), nms=True), 320, Reading("detections")),
    ],
)
def test_what_leaves_no_doubt(
    shape: tuple[Any, ...], metadata: Metadata, size: int | None, expected: Reading
) -> None:
    assert reading(FILE, shape, metadata, size=size) == expected


@pytest.mark.parametrize(
    ("shape", "metadata", "words", "remedy"),
    [
        ((1, 2100, 85), Metadata(), ("YOLOv5's of 80 classes", "YOLOv8's of 81 classes"), "yolov5"),
        ((1, 6300, 85), Metadata(), ("YOLOv5's of 80", "YOLOX's"), "`family: yolov5`"),
        ((1, 2100, 6), Metadata(), ("finished detections", "of 1 class "), "`family: yolov10`"),
        ((1, "n", 6), Metadata(), ("finished detections",), "`family: yolov10`"),
        ((1, 2000, 6), Metadata(), ("finished detections",), "`family: yolov10`"),
        ((1, 2100, 84), ONE, ("the file names 1 class",), "`family: yolov8`"),
        ((1, 300, 84), NAMED, ("RT-DETR's",), "Export"),
        ((1, 300, 7), Metadata(), ("RT-DETR's",), "Export"),
        ((1, 1000), Metadata(), ("as a classifier gives",), "one output"),
        ((10, 7), Metadata(), ("as YOLOv7's export with NMS gives",), "one output"),
        ((1, 255, 40, 40), Metadata(), ("a grid",), "one output"),
        ((1, 3, 4), Metadata(), ("no list of boxes",), "yolov8: (batch, 4 + classes, places)"),
    ],
)
def test_what_may_be_several_things_is_refused_with_them(
    shape: tuple[Any, ...], metadata: Metadata, words: tuple[str, ...], remedy: str
) -> None:
    with pytest.raises(LoadError) as caught:
        reading(FILE, shape, metadata, size=320)
    assert f"my.onnx gives an output of shape {shape}" in caught.value.message
    for part in words:
        assert part in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("family", "shape", "expected"),
    [
        ("yolov5", (1, 2100, 6), Reading("yolov5", 1)),
        ("yolov5", (1, 2100, 85), Reading("yolov5", 80)),
        ("yolov5", (1, 63, 85), Reading("yolov5", 80)),
        ("yolov8", (1, 2100, 84), Reading("anchors-last", 80)),
        ("yolov8", (1, 84, 2100), Reading("anchors", 80)),
        ("yolov8", (1, "n", 84), Reading("anchors-last", 80)),
        ("yolov8", (1, 84, "n"), Reading("anchors", 80)),
        ("yolov8", (1, 6, 2100), Reading("anchors", 2)),
        ("yolov8", (1, 2100, 6), Reading("anchors-last", 2)),
        ("yolov10", (1, 2100, 6), Reading("detections")),
        ("yolov10", (1, "n", 6), Reading("detections")),
    ],
)
def test_a_family_decides(family: Any, shape: tuple[Any, ...], expected: Reading) -> None:
    assert reading(FILE, shape, Metadata(), size=320, told=ReadAs(family=family)) == expected


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("yolov5", (1, 85, 2100)),
        ("yolov5", (1, 2100, 5)),
        ("yolov10", (1, 2100, 84)),
        ("yolov8", (1, 2100, 4)),
        ("yolov8", (1, 4, 2100)),
    ],
)
def test_a_shape_that_is_not_the_familys_is_refused(family: Any, shape: tuple[Any, ...]) -> None:
    with pytest.raises(LoadError, match=f"and family: {family} is "):
        reading(FILE, shape, Metadata(), size=320, told=ReadAs(family=family))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(1, 116, 8400), (1, 32, 160, 160)], "it is a segmentation model"),
        ([(1, 100, 92), (1, 100, 4)], "as DETR and RT-DETR give them"),
        ([(1, 10, 4), (1, 10), (1, 10), (1,)], "as SSD of TensorFlow gives them"),
        ([("n", 4), ("n",), ("n",)], "as torchvision's detectors give them"),
        ([(1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85)], "raw heads of a detector"),
        ([(1, 2), (1, 3)], "Deploymark reads one: a (1, 2), b (1, 3)"),
    ],
)
def test_several_outputs_are_named(shapes: list[tuple[Any, ...]], words: str) -> None:
    error = several(FILE, ["a", "b", "c", "d"][: len(shapes)], shapes)
    assert f"my.onnx has {len(shapes)} outputs" in error.message
    assert words in error.message
