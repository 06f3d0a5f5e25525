"""Several outputs by names, shapes and types: recognised without a doubt, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import LoadError, ReadAs
from deploymark.backends.ends import End
from deploymark.backends.recognise_several import plain_name, reading_of_several

FILE = Path("my.onnx")
F, WHOLE = "float32", "int64"
POSTPROCESS = "TFLite_Detection_PostProcess"
SSD = [
    End(POSTPROCESS, (1, 10, 4), F),
    End(f"{POSTPROCESS}:1", (1, 10), F),
    End(f"{POSTPROCESS}:2", (1, 10), F),
    End(f"{POSTPROCESS}:3", (1,), F),
]


def ends(*shapes: tuple[Any, ...], types: str = "") -> list[End]:
    return [
        End(f"out{index}", shape, WHOLE if types[index : index + 1] == "i" else F)
        for index, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("graph2_pred_boxes", "pred_boxes"),
        ("model/Detections/boxes:0", "boxes"),
        ("graph_boxes_1", "graph_boxes_1"),
        (f"{POSTPROCESS}:1", "tflite_detection_postprocess:1"),
    ],
)
def test_names_without_what_exporters_put_around_them(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_types_tell_labels_from_scores() -> None:
    outputs = ends((1, 300), (1, 300, 4), (1, 300), types="f-i")
    found = reading_of_several(FILE, outputs, extra=["orig_target_sizes"])
    assert (found.family, found.output.names) == ("rtdetr", ("out2", "out1", "out0"))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_tensorflows_names_tell_its_four_tensors(order: tuple[int, ...]) -> None:
    found = reading_of_several(FILE, [SSD[index] for index in order])
    assert (found.family, found.output.layout, found.output.boxes) == ("ssd", "ssd", "normalised")
    assert found.output.names == tuple(end.name for end in SSD)


def test_an_operator_tells_what_its_outputs_are() -> None:
    roles = ("classes", "boxes", "counts", "scores")
    shapes = ((1, 10), (1, 10, 4), (1,), (1, 10))
    outputs = [
        End(f"StatefulPartitionedCall:{index}", shape, F, role)
        for index, (shape, role) in enumerate(zip(shapes, roles, strict=True))
    ]
    places = [name.rpartition(":")[2] for name in reading_of_several(FILE, outputs).output.names]
    assert places == ["1", "0", "3", "2"]


def test_outputs_besides_those_that_a_family_names_are_left_out() -> None:
    outputs = [
        End("logits", (1, 5, 92), F),
        End("hidden", (1, 5, 256), F),
        End("pred_boxes", (1, 5, 4), F),
    ]
    found = reading_of_several(FILE, outputs, told=ReadAs("detr"))
    assert (found.output.names, found.classes) == (("logits", "pred_boxes"), 91)
    with pytest.raises(LoadError, match=r"my\.onnx has 3 outputs"):
        reading_of_several(FILE, outputs)


@pytest.mark.parametrize(
    ("outputs", "told", "words", "remedy"),
    [
        (
            ends((1, 300), (1, 300, 4), (1, 300)),
            "rtdetr",
            "tell which are the labels and the scores",
            "named labels, boxes, scores",
        ),
        (ends((1, 9, 4), (1, 9, 4)), "detr", "the logits and the boxes", "named logits, boxes"),
        (
            ends((1, 9, 6), (1, 9, 4)),
            "yolov5",
            "family: yolov5 is (batch, places, 5",
            "`family: detr`",
        ),
        (SSD, "torchvision", "family: torchvision is boxes (n, 4)", "`family: ssd`"),
    ],
)
def test_a_family_whose_outputs_these_are_not_is_refused(
    outputs: list[End], told: Any, words: str, remedy: str
) -> None:
    with pytest.raises(LoadError) as caught:
        reading_of_several(FILE, outputs, told=ReadAs(told))
    assert "my.onnx has the outputs" in caught.value.message
    assert words in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("outputs", "words", "remedy"),
    [
        (ends((1, 116, 8400), (1, 32, 160, 160)), "it is a segmentation model", "Export"),
        (
            ends((1, 100, 92), (1, 100, 4)),
            "may be DETR's (softmax",
            "`family: detr` or `family: rt",
        ),
        (ends((1, 10, 4), (1, 10), (1, 10), (1,)), "nms-in-graph: counts", "`family: ssd`"),
        (ends((1, 300), (1, 300, 4), (1, 300), types="i"), "rtdetr: labels", "`family: rtdetr`"),
        (ends((None, 6), (None,), types="-i"), "paddle: rows (n, 6)", "`family: paddle`"),
        (ends((1, 255, 80, 80), (1, 255, 40, 40)), "raw heads of a detector", "Export"),
        ([End("dets", (1, 100, 5), F), End("labels", (1, 100), WHOLE)], "MMDeploy's", "Export"),
        (ends((1, 2), (1, 3)), "my.onnx has 2 outputs: out0 (1, 2) float32", "Export"),
    ],
)
def test_what_may_be_several_things_is_refused_with_them(
    outputs: list[End], words: str, remedy: str
) -> None:
    with pytest.raises(LoadError) as caught:
        reading_of_several(FILE, outputs)
    assert words in caught.value.message
    assert remedy in caught.value.remedy


def test_boxes_of_tensorflows_names_may_begin_with_x_or_y() -> None:
    names = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
    shapes = ((1, 1), (1, 9, 4), (1, 9), (1, 9))
    outputs = [End(name, shape, F) for name, shape in zip(names, shapes, strict=True)]
    with pytest.raises(LoadError) as caught:
        reading_of_several(FILE, outputs)
    assert "`family: nms-in-graph` or `family: ssd`" in caught.value.remedy
    for family, first in (("nms-in-graph", names[0]), ("ssd", names[1])):
        found = reading_of_several(FILE, outputs, told=ReadAs(family))  # type: ignore[arg-type]
        assert found.output.names[0] == first
