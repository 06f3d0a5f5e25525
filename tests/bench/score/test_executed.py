from __future__ import annotations

import pytest

from deploymark.bench.score.executed import contradiction, convolutions


def test_convolutions_are_counted_under_every_runtimes_name() -> None:
    layers = {"Conv:f32": 2, "FusedConv:f32": 1, "QLinearConv:u8": 4, "CONV_2D:i8": 3, "Add:f32": 9}
    layers |= {"DEPTHWISE_CONV_2D:i8": 1, "mkldnn::_convolution:bf16": 1}
    assert convolutions(layers) == {"f32": 3, "u8": 4, "i8": 4, "bf16": 1}


def test_what_converts_is_no_convolution() -> None:
    layers = {"Convert:i64": 2, "ConvertLike:f16": 1, "aten::convert_element_type:f16": 3}
    layers |= {"TypeConversion:i32": 1, "Convolution:f32": 83, "GroupConvolution:f32": 5}
    assert convolutions(layers) == {"f32": 88}


@pytest.mark.parametrize(
    ("precision", "layers"),
    [
        ("fp32", {"Conv:f32": 88, "Add:f32": 3}),
        ("fp32", {"Convolution:f32": 102, "Convert:i32": 2, "Convert:i64": 1}),
        ("int8", {"Conv:u8": 80, "Conv:f32": 8}),
        ("int8-dynamic", {"Conv:i8": 88}),
        ("bf16", {"Conv:bf16": 80, "Conv:f32": 8}),
        ("int8-weights", {"Conv:f32": 88}),
        ("palettized", {"Conv:f16": 88}),
        ("int8", {}),
        ("fp32", {"MatMul:bf16": 3}),
    ],
)
def test_what_ran_as_it_should_is_not_remarked(precision: str, layers: dict[str, int]) -> None:
    assert contradiction(precision, layers) is None


@pytest.mark.parametrize(
    ("precision", "layers", "words"),
    [
        ("fp32", {"Conv:bf16": 88}, "a cell of fp32, but of its 88 convolutions ran 88 in bf16"),
        ("fp32", {"Conv:f32": 87, "Conv:f16": 1}, "1 in f16, 87 in f32"),
        ("int8", {"Conv:f32": 60, "Conv:u8": 28}, "60 in f32, 28 in u8"),
        ("fp16", {"Conv:f32": 88}, "88 in f32"),
    ],
)
def test_a_contradiction_is_a_sentence(precision: str, layers: dict[str, int], words: str) -> None:
    said = contradiction(precision, layers)
    assert said is not None
    assert words in said
