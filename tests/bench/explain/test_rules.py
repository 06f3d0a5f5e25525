"""What the rules say of made-up profiles, and that they are silent where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.explain import kinds, rules
from deploymark.bench.explain.differences import differences
from deploymark.bench.explain.profile import CellProfile, Layer, is_other_precision
from deploymark.bench.records.run import CellResult


def profile(
    layers: Sequence[Layer], precision: str = "int8", backend: str = "onnxruntime"
) -> CellProfile:
    cell = CellResult(f"m-{precision}-{backend}", "ok", precision=precision, backend=backend)
    cell.device = "cpu"
    total = sum(layer.ms for layer in layers)
    return CellProfile(cell, tuple(layers), wall_ms=total * 1.2, plain_ms=total)


def conv(name: str, ms: float, precision: str) -> Layer:
    kind = "Conv" if precision == "f32" else "QLinearConv"
    return Layer(name, kind, ms, precision, (name,))


FP32 = profile([conv(f"/m.{n}/Conv", 1.0, "f32") for n in range(6)], "fp32")


def alternating(conversion_ms: float) -> CellProfile:
    layers = []
    for number in range(0, 6, 2):
        layers += [
            conv(f"/m.{number}/Conv", 0.4, "u8"),
            Layer("d", "DequantizeLinear", conversion_ms, "u8"),
            conv(f"/m.{number + 1}/Conv", 1.0, "f32"),
            Layer("q", "QuantizeLinear", conversion_ms, "f32"),
        ]
    return profile(layers)


def test_conversions_around_scattered_float_layers_are_named() -> None:
    said = rules.sentences(alternating(0.8), FP32)
    assert said[0].startswith("INT8 is slower than FP32 here (9 ms of layers against 6 ms)")
    assert "conversions take 4.8 ms, there nothing" in said[0]
    assert said[1].startswith("53 % of the time converts between int8 and float around 3 layers")
    assert "in 3 places" in said[1]
    assert "/m.1/Conv" in said[1]
    assert any("3 layers ran in f32 though int8 was asked: 33 %" in text for text in said)


def test_a_plain_profile_says_nothing() -> None:
    assert rules.sentences(FP32, None) == []
    quick = profile([conv(f"/m.{n}/Conv", 0.4, "u8") for n in range(6)])
    assert rules.sentences(quick, FP32) == []


def test_dynamic_quantization_is_named() -> None:
    layers = [Layer(f"/m.{n}/Conv", "ConvInteger", 5.0, "u8") for n in range(6)]
    layers.append(Layer("q", "DynamicQuantizeLinear", 1.0, "f32"))
    said = " ".join(rules.sentences(profile(layers, "int8-dynamic"), FP32))
    assert "INT8-dynamic is slower than FP32" in said
    assert "ConvInteger" in said
    assert "take static int8" in said


def test_islands_have_a_conversion_beside_them() -> None:
    assert [len(one) for one in rules.float_islands(alternating(0.1))] == [1, 1, 1]
    assert rules.float_islands(FP32) == []


def test_layers_match_by_name_and_else_by_what_they_do() -> None:
    by, found = differences(alternating(0.1), FP32)
    assert by == "name"
    assert {one.name: one.delta_ms for one in found}["/m.0/Conv"] == 0.4 - 1.0
    other = profile([Layer(f"conv2d {n}", "conv2d", 2.0, "f32") for n in range(6)], "fp32", "torch")
    by, found = differences(other, FP32)
    assert (by, found[0].name, found[0].delta_ms) == ("family", kinds.CONVOLUTION, 6.0)
    assert rules.slower(other, FP32).startswith("torch is slower than onnxruntime here")


def test_indices_and_conversions_are_in_no_other_precision() -> None:
    cell = CellResult("c", "ok", precision="int8")
    assert is_other_precision(cell, conv("a", 1.0, "f32"))
    assert not is_other_precision(cell, conv("a", 1.0, "u8"))
    assert not is_other_precision(cell, Layer("s", "Shape", 1.0, "i64"))
    assert not is_other_precision(cell, Layer("q", "QuantizeLinear", 1.0, "f32"))


def test_families_are_the_same_in_every_runtime() -> None:
    words = ("QLinearConv", "GroupConvolution", "conv2d", "CONV_2D", "ConvolutionDepthwise")
    assert {kinds.family(word) for word in words} == {kinds.CONVOLUTION}
    words = ("ReorderInput", "Reorder", "transpose", "Reformat")
    assert {kinds.family(word) for word in words} == {kinds.LAYOUT}
    assert kinds.family("SomethingNew") == kinds.OTHER
