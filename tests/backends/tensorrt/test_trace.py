from __future__ import annotations

import json
from typing import Any

import pytest

from deploymark.backends.tensorrt.trace import data_type, layers


def tensor(name: str, form: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Location": "Device",
        "Dimensions": [1, 16, 32, 32],
        "Format/Datatype": form,
    }


def layer(name: str, kind: str, took: str, gave: str, **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor("in", took)],
        "Outputs": [tensor("out", gave)],
        **more,
    }


# Fields and values as trtexec and trt-engine-explorer's examples show them, of 8.x and 10.x.
OLDER = {
    "Layers": [
        layer(
            "QuantizeLinear_2",
            "Reformat",
            "Row major linear FP32",
            "Four wide channel vectorized row major Int8 format",
            ParameterType="Reformat",
            Origin="QDQ",
            TacticValue="0x0000000000000000",
        ),
        layer(
            "model.0.conv.weight + QuantizeLinear_7 + /model.0/conv/Conv",
            "CaskConvolution",
            "Four wide channel vectorized row major Int8 format",
            "Channel major FP16 format where channel % 8 == 0",
            ParameterType="Convolution",
            Kernel=[3, 3],
            Weights={"Type": "Int8", "Count": 432},
            Bias={"Type": "Float", "Count": 16},
            TacticName="sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32",
        ),
        layer(
            "PWN(PWN(/model.0/act/Sigmoid), /model.0/act/Mul)",
            "PointWiseV2",
            "Channel major FP16 format where channel % 8 == 0",
            "Channel major FP16 format where channel % 8 == 0",
            ParameterType="PointWise",
        ),
        layer(
            "/model.23/dfl/conv/Conv",
            "CudaDepthwiseConvolution",
            "Row major linear FP32",
            "Row major linear FP32",
            ParameterType="Convolution",
            Weights={"Type": "Float", "Count": 16},
        ),
        layer("/model.5/Transpose", "NoOp", "Row major linear BF16", "Row major linear BF16"),
    ],
    "Bindings": ["images", "output0"],
}

# Newer compilers fuse across kinds: the origin is a note, the type one word.
NEWER = {
    "Layers": [
        layer(
            "/model.0/conv/Conv_myl0_1",
            "gemm",
            "Half",
            "Half",
            TacticName="sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc",
            StreamId=0,
            Metadata="[ONNX Layer: /model.0/conv/Conv]\u001e[ONNX Layer: /model.0/act/Sigmoid]",
        ),
        layer(
            "__myl_MovConcSli_myl0_2",
            "kgen",
            "Half",
            "Half",
            TacticName="__myl_MovConcSli_0x23",
            Metadata="[ONNX Layer: /model.2/cv1/conv/Conv]\u001e[ONNX Layer: /model.2/Concat]",
        ),
        layer(
            "__myl_Fc_myl0_3",
            "fusion",
            "Int8",
            "Half",
            TacticName="sm80_xmma_gemm_i8i8_i8i32_f32_tn",
            Metadata="[ONNX Layer: /model.10/m/m.0/attn/MatMul]",
        ),
    ]
}


def test_layers_are_counted_by_what_they_do_and_the_type_of_their_weights() -> None:
    assert layers(json.dumps(OLDER)) == {
        "Convolution:f32": 1,
        "Convolution:i8": 1,
        "NoOp:bf16": 1,
        "PointWise:f16": 1,
        "Reformat:f32": 1,
    }


def test_a_fused_layer_is_a_convolution_if_it_multiplies_and_came_from_one() -> None:
    assert layers(json.dumps(NEWER)) == {"Convolution:f16": 1, "fusion:i8": 1, "kgen:f16": 1}


@pytest.mark.parametrize(
    "text",
    [
        # Built without details: names alone.
        '{"Layers": ["Reformatting CopyNode for Input Tensor 0", "/model.0/conv/Conv"]}',
        '{"Layers": []}',
        "{}",
        "[]",
        "",
        "not JSON",
    ],
)
def test_an_engine_without_details_tells_no_layers(text: str) -> None:
    assert layers(text) == {}


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Row major linear FP32", "f32"),
        ("Float", "f32"),
        ("Row major linear FP16 format", "f16"),
        ("Half", "f16"),
        ("Channel major BF16 format where channel % 8 == 0", "bf16"),
        ("BFloat16", "bf16"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "i8"),
        ("UInt8", "u8"),
        ("Int32", "i32"),
        ("Bool", "bool"),
        ("", ""),
        ("Row major linear of another kind", ""),
    ],
)
def test_data_types_are_read_by_whole_words(text: str, short: str) -> None:
    assert data_type(text) == short
