"""The conventions of known families of detectors: what each takes, and how its outputs read.

From their public sources, named at each. A family says what neither shapes nor names of a file
tell; ``backends.recognise`` finds out what they do tell. Written for Python 3.10 and nothing
besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deploymark.backends.inputs import (
    BYTE_RANGE,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    PLAIN_INPUT,
    SIGNED_RANGE,
    InputSpec,
)
from deploymark.backends.layout import FamilyName, OutputSpec

STRETCHED = InputSpec(resize="stretch", interpolation="bilinear-antialias")
"""RGB in 0 to 1, stretched as Pillow and torchvision resize."""

IMAGENET = dataclasses.replace(STRETCHED, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
"""The same, less ImageNet's mean and divided by its deviation."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One family. ``source`` is where its conventions were read.

    ``input`` is without a size. ``outputs`` are the contracts that its files may have, told apart
    by names and shapes.
    """

    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    source: str


_QUERIES = (
    OutputSpec("rtdetr"),
    OutputSpec("detr", boxes="normalised", scores="sigmoid"),
)

FAMILIES: Mapping[FamilyName, Family] = {
    "yolov5": Family(PLAIN_INPUT, (OutputSpec("yolov5"),), "ultralytics/yolov5 export.py"),
    "yolov8": Family(
        PLAIN_INPUT,
        (OutputSpec("anchors"), OutputSpec("anchors-last")),
        "ultralytics/engine/exporter.py",
    ),
    "yolov10": Family(PLAIN_INPUT, (OutputSpec("detections"),), "ultralytics/nn/modules/head.py"),
    "yolox": Family(
        InputSpec(placement="top-left", colours="bgr", range=BYTE_RANGE),
        (OutputSpec("yolox", iou=0.65),),
        "Megvii-BaseDetection/YOLOX yolox/data/data_augment.py (preproc), yolox/exp/yolox_base.py",
    ),
    "detr": Family(
        IMAGENET,
        (OutputSpec("detr", boxes="normalised", scores="softmax"),),
        "transformers image_processing_detr.py; stretched, as an input of fixed size has no place "
        "for its shortest-edge rule",
    ),
    "yolos": Family(
        IMAGENET,
        (OutputSpec("detr", boxes="normalised", scores="softmax"),),
        "transformers image_processing_yolos.py; stretched, as DETR's",
    ),
    "rtdetr": Family(STRETCHED, _QUERIES, "lyuwenyu/RT-DETR tools/export_onnx.py"),
    "dfine": Family(STRETCHED, _QUERIES, "Peterande/D-FINE tools/deployment/export_onnx.py"),
    "rfdetr": Family(
        IMAGENET,
        (OutputSpec("detr", boxes="normalised", scores="sigmoid", names=("labels", "dets")),),
        "roboflow/rf-detr rfdetr/deploy/export.py",
    ),
    "ultralytics-rtdetr": Family(
        InputSpec(resize="stretch"),
        (
            OutputSpec("queries-ranked", boxes="normalised"),
            OutputSpec("queries", boxes="normalised"),
        ),
        "ultralytics/models/rtdetr/val.py, ultralytics/nn/modules/head.py (RTDETRDecoder)",
    ),
    "nms-in-graph": Family(
        PLAIN_INPUT, (OutputSpec("nms-in-graph"),), "TensorRT plugin/efficientNMSPlugin/README.md"
    ),
    "yolo-nas": Family(
        InputSpec(dtype="uint8", range=BYTE_RANGE),
        (OutputSpec("nms-in-graph"),),
        "Deci-AI/super-gradients documentation/source/models_export.md",
    ),
    "ssd": Family(
        InputSpec(resize="stretch", range=SIGNED_RANGE, channels_last=True),
        (OutputSpec("ssd", boxes="normalised"),),
        "tensorflow/models research/object_detection/export_tflite_graph_lib_tf2.py",
    ),
    "torchvision": Family(
        PLAIN_INPUT,
        (OutputSpec("torchvision"),),
        "torchvision/models/detection/transform.py (GeneralizedRCNNTransform)",
    ),
    "paddle": Family(
        InputSpec(resize="stretch", interpolation="bicubic"),
        (OutputSpec("paddle"),),
        "PaddlePaddle/PaddleDetection deploy/python/preprocess.py, configs/ppyoloe",
    ),
}
"""Every family by its name."""
