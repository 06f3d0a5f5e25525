from __future__ import annotations

import json
from typing import Any

from deploymark.backends.onnxruntime import trace as ort_trace


def event(name: str, operator: str, took: list[Any], gave: list[Any], cat: str = "Node") -> Any:
    return {
        "cat": cat,
        "name": name,
        "args": {"op_name": operator, "input_type_shape": took, "output_type_shape": gave},
    }


def test_operators_are_counted_by_type_and_data_type() -> None:
    image = {"float": [1, 3, 64, 64]}
    weights = {"int8": [16, 3, 3, 3]}
    byte = {"uint8": [1, 16, 32, 32]}
    profile = json.dumps(
        [
            {"cat": "Session", "name": "model_loading_uri", "ts": 1},
            event("a_kernel_time", "QuantizeLinear", [image], [byte]),
            event("b_kernel_time", "QLinearConv", [byte, weights], [byte]),
            event("c_kernel_time", "QLinearConv", [byte, weights], [byte]),
            event("d_kernel_time", "QLinearConcat", [{"float": []}, byte], [byte]),
            event("e_kernel_time", "Conv", [image], [image]),
            event("e_fence_before", "Conv", [image], [image]),
            event("f_kernel_time", "ConstantOfShape", [], [{"int64": [2]}]),
            event("g_kernel_time", "Barrier", [], []),
            event("h_kernel_time", "Odd", [{"float8e4m3fn": [1]}], []),
        ]
    )
    assert ort_trace.layers(profile) == {
        "Barrier:unknown": 1,
        "ConstantOfShape:i64": 1,
        "Conv:f32": 1,
        "Odd:float8e4m3fn": 1,
        "QLinearConcat:u8": 1,
        "QLinearConv:u8": 2,
        "QuantizeLinear:f32": 1,
    }


def test_operators_are_counted_by_the_provider_that_ran_them() -> None:
    def ran(provider: str) -> Any:
        return {"cat": "Node", "name": "n_kernel_time", "args": {"provider": provider}}

    profile = json.dumps([ran("CUDAExecutionProvider")] * 3 + [ran("CPUExecutionProvider")])
    assert ort_trace.placement(profile) == (
        "3 nodes on CUDAExecutionProvider, 1 nodes on CPUExecutionProvider"
    )
