"""Small ONNX files of each output contract, made by hand: their outputs follow from their input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 64, 96
ROWS = 3
BOXES = np.array([[1, 2, 30, 40], [5, 6, 70, 60], [10, 20, 90, 50]], np.float32)
"""x1, y1, x2, y2 in pixels of the input."""

SCORES = np.array([0.9, 0.6, 0.3], np.float32)
LABELS = np.array([7, 0, 3], np.int64)
COUNT = 2


class File:
    """An ONNX graph of constants, to which nought times the mean of the images is added."""

    def __init__(
        self, *, images: Sequence[Any] = (1, 3, HEIGHT, WIDTH), dtype: str = "float32"
    ) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[tuple[str, str, Sequence[Any]]] = [("images", dtype, images)]
        self._outputs: list[tuple[str, str, Sequence[Any]]] = []
        self._node("Cast", ["images"], "images_float", to=1)
        self._node("ReduceMean", ["images_float"], "mean", keepdims=0)
        self._node("Mul", ["mean", "zero"], "nothing")
        self._constants.append(_tensor(np.zeros((), np.float32), "zero"))

    def input(self, name: str, dtype: str, shape: Sequence[Any]) -> File:
        """One more input, which nothing depends on but what ``sized`` names it for."""
        self._inputs.append((name, dtype, shape))
        return self

    def output(
        self, name: str, values: np.ndarray[Any, Any], shape: Sequence[Any] | None = None
    ) -> File:
        """An output that has these values."""
        self._constants.append(_tensor(values, f"{name}_values"))
        self._outputs.append((name, values.dtype.name, values.shape if shape is None else shape))
        if values.dtype == np.float32:
            self._node("Add", [f"{name}_values", "nothing"], name)
        else:
            self._node("Identity", [f"{name}_values"], name)
        return self

    def sized(self, name: str, shares: np.ndarray[Any, Any], by: str) -> File:
        """Boxes: shares of width and height, times the two numbers of an input."""
        self._constants.append(_tensor(shares, f"{name}_values"))
        self._node("Cast", [by], f"{by}_float", to=1)
        self._node("Concat", [f"{by}_float", f"{by}_float"], "sides", axis=1)
        self._node("Mul", [f"{name}_values", "sides"], name)
        self._outputs.append((name, "float32", shares.shape))
        return self

    def save(self, path: Path, **metadata: str) -> Path:
        """Write it."""
        import onnx
        from onnx import helper

        def value(name: str, dtype: str, shape: Sequence[Any]) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, list(shape))

        graph = helper.make_graph(
            self._nodes,
            "made",
            [value(*item) for item in self._inputs],
            [value(*item) for item in self._outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        for key, text in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))


def _tensor(values: np.ndarray[Any, Any], name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(values, name)


def each(values: np.ndarray[Any, Any], dtype: str = "") -> np.ndarray[Any, Any]:
    """With a batch of one, in another type where one is given."""
    return values[None].astype(dtype or values.dtype)


SHARES = BOXES / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)


def rtdetr(path: Path, *, order: Sequence[str] = ("labels", "boxes", "scores")) -> Path:
    """Labels, boxes, scores, and the sizes that boxes are multiplied by."""
    file = File().input("orig_target_sizes", "int64", (1, 2))
    for name in order:
        if name == "boxes":
            file.sized(name, each(SHARES), "orig_target_sizes")
        else:
            file.output(name, each(LABELS if name == "labels" else SCORES))
    return file.save(path)


LOGITS = np.arange(ROWS * 6, dtype=np.float32).reshape(ROWS, 6) / 10
"""Of five classes and no object, or of six."""

CENTRED = np.concatenate([(SHARES[:, :2] + SHARES[:, 2:]) / 2, SHARES[:, 2:] - SHARES[:, :2]], 1)


def detr(path: Path, *, logits: str = "logits", boxes: str = "pred_boxes") -> Path:
    """Logits and boxes, the boxes first."""
    return File().output(boxes, each(CENTRED)).output(logits, each(LOGITS)).save(path)


def nms_in_graph(path: Path, *, nas: bool = False) -> Path:
    """Counts, boxes, scores, classes, in another order and with names of TensorRT or YOLO-NAS."""
    file = File(dtype="uint8") if nas else File()
    names = (
        ("graph2_pred_classes", "graph2_pred_scores", "graph2_pred_boxes", "graph2_num_predictions")
        if nas
        else ("det_classes", "det_scores", "det_boxes", "num_dets")
    )
    values = (each(LABELS), each(SCORES), each(BOXES), np.array([[COUNT]], np.int64))
    for name, value in zip(names, values, strict=True):
        file.output(name, value)
    return file.save(path)


def torchvision(path: Path, *, names: Sequence[str] = ("boxes", "labels", "scores")) -> Path:
    """Boxes, labels, scores of one image without a batch, of any number."""
    boxes, labels, scores = names
    return (
        File(images=(3, HEIGHT, WIDTH))
        .output(boxes, BOXES, ("n", 4))
        .output(labels, LABELS, ("n",))
        .output(scores, SCORES, ("n",))
        .save(path)
    )


def paddle(path: Path) -> Path:
    """Rows of class, score and box, and their number."""
    rows = np.concatenate([LABELS[:, None], SCORES[:, None], BOXES], 1).astype(np.float32)
    return (
        File()
        .input("im_shape", "float32", (1, 2))
        .input("scale_factor", "float32", (1, 2))
        .output("nms_0.tmp_0", rows, ("n", 6))
        .output("nms_0.tmp_2", np.array([ROWS], np.int32), ("b",))
        .save(path)
    )


def yolox(path: Path) -> Path:
    """Boxes on the grid, objectness, two classes."""
    places = sum((HEIGHT // stride) * (WIDTH // stride) for stride in (8, 16, 32))
    values = np.random.default_rng(0).random((1, places, 7), np.float32)
    return File().output("output", values).save(path)
