"""Small detectors without training, and what structured pruning is asked for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from deploymark.bench.matrix.steps import StructuredStep

torch = pytest.importorskip("torch")

SIZE = 64

CONV, C3K2 = "Conv", "C3k2"
SMALL = {
    "nc": 3,
    "yaml_file": "small.yaml",
    "backbone": [
        [-1, 1, CONV, [16, 3, 2]],
        [-1, 1, CONV, [32, 3, 2]],
        [-1, 1, C3K2, [32, False, 1.0]],
        [-1, 1, CONV, [64, 3, 2]],
        [-1, 1, CONV, [128, 3, 2]],
        [-1, 1, "C2PSA", [128]],
    ],
    "head": [[[3, 5], 1, "Detect", ["nc"]]],
}
"""YOLO11 with little of everything."""


def untrained(config: Any = SMALL) -> Any:
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    module = DetectionModel(copy.deepcopy(config), nc=3, verbose=False).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    module.args = {"imgsz": SIZE, "task": "detect"}
    module.names = {0: "cat", 1: "dog", 2: "owl"}
    return module


def step(**options: Any) -> StructuredStep:
    return StructuredStep(kind="structured", **options)
