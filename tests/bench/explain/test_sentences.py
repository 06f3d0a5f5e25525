"""What a profile shows, in words: each rule where it applies, and not where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.explain import kinds, rules
from deploymark.bench.explain.profile import CellProfile, Layer
from deploymark.bench.records.run import CellResult


def profile(*layers: Layer, **values: Any) -> CellProfile:
    axes = {"precision": "int8", "backend": "onnxruntime", "device": "cpu"}
    cell = CellResult(**{"cell": "c", "status": "ok", **axes, **values})
    total = sum(layer.ms for layer in layers)
    return CellProfile(cell, layers, wall_ms=total, plain_ms=total / 1.1)


def conv(ms: float, precision: str = "u8", name: str = "") -> Layer:
    return Layer(name or f"conv{ms}", "QLinearConv" if precision == "u8" else "Conv", ms, precision)


def convert(ms: float, kind: str = "DequantizeLinear") -> Layer:
    return Layer(f"{kind}{ms}", kind, ms, "f32")


def scattered() -> CellProfile:
    """Every second layer in float: a conversion before and behind each."""
    layers: list[Layer] = []
    for number in range(5):
        layers += [
            conv(1.0, name=f"/model.{number}/a"),
            convert(0.4),
            conv(1.0, "f32", name=f"/model.{number}/b"),
            convert(0.4, "QuantizeLinear"),
        ]
    return profile(*layers)


def test_every_second_layer_in_float_is_named_as_the_cause() -> None:
    told = rules.converts(scattered())
    assert told.startswith("29 % of the time converts between int8 and float around 5 layers")
    assert "that lie in 5 places between integer ones" in told
    assert "quantize them, too, or keep the whole stretch in float" in told


def test_a_few_conversions_are_not_worth_a_sentence() -> None:
    assert rules.converts(profile(conv(5.0), convert(0.1), conv(5.0))) == ""


def test_the_decode_in_float_is_told_by_its_module() -> None:
    found = profile(
        conv(5.0),
        convert(1.0),
        Layer("/model.23/Softmax", "Softmax", 1.0, "f32"),
        Layer("/model.23/Mul", "Mul", 1.0, "f32"),
    )
    assert "around 2 layers of /model.23 in float" in rules.converts(found)


def test_layouts_are_told_apart_from_types() -> None:
    found = profile(conv(5.0), Layer("r", "ReorderInput", 2.0, "u8"))
    assert rules.converts(found).startswith("29 % of the time rearranges layouts (1 layer")


def test_dynamic_quantization_is_the_cause_it_is() -> None:
    here = profile(
        Layer("q", "DynamicQuantizeLinear", 2.0, "f32"),
        Layer("c", "ConvInteger", 8.0, "u8"),
        precision="int8-dynamic",
    )
    there = profile(conv(4.0, "f32"), precision="fp32")
    told = rules.dynamic_scales(here, there)
    assert "find their scales anew in every inference" in told
    assert told.endswith("those of FP32 4 ms; take static int8")


def test_slower_names_what_lost_the_time() -> None:
    here = profile(conv(5.0), convert(3.0), convert(2.0, "QuantizeLinear"))
    there = profile(conv(6.0, "f32"), precision="fp32", cell="d")
    told = rules.slower(here, there)
    assert told.startswith("INT8 is slower than FP32 here (10 ms of layers against 6 ms), because")
    assert "conversions take 5 ms, there nothing" in told
    assert rules.slower(there, here) == ""
    assert rules.slower(here, None) == ""


def test_other_precisions_and_places() -> None:
    found = profile(conv(5.0), conv(5.0, "f32"))
    assert "1 layer ran in f32 though int8 was asked: 50 % of the time" in rules.other_precision(
        found
    )
    assert rules.other_precision(profile(conv(5.0), conv(0.1, "f32"))) == ""
    moved = profile(conv(9.0), Layer("x", "NonMaxSuppression", 1.0, "f32", place="CPUProvider"))
    assert rules.elsewhere(moved) == "", "the cell asks for the processor"
    told = rules.elsewhere(profile(*moved.layers, device="cuda"))
    assert told.startswith("1 layer ran on the processor though cuda was asked: 10 % of the time")


def test_sentences_are_sentences() -> None:
    for text in rules.sentences(scattered(), profile(conv(3.0, "f32"), precision="fp32")):
        assert text[0].isupper() or text[0].isdigit()
        assert text.endswith(".")
        assert not text.endswith("..")


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("QuantizeLinear", kinds.TYPES),
        ("Reorder", kinds.LAYOUT),
        ("ConvInteger", kinds.CONVOLUTION),
        ("aten::convolution", kinds.CONVOLUTION),
        ("CONV_2D", kinds.CONVOLUTION),
        ("FusedMatMul", kinds.PRODUCT),
        ("QLinearSigmoid", kinds.ACTIVATION),
        ("Softmax", kinds.SOFTMAX),
        ("Concat", kinds.MOVING),
        ("SomethingNew", kinds.OTHER),
    ],
)
def test_families(kind: str, family: str) -> None:
    assert kinds.family(kind) == family
