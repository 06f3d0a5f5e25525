"""What operators do, by the words of each runtime: one family for the same work everywhere.

Sources of the names: ONNX Runtime, its operator schemas (docs/OperatorKernels.md,
docs/ContribOperators.md); OpenVINO, the CPU plugin's node types (``cpu_types.cpp``); torch, ATen's
``native_functions.yaml``; LiteRT, ``BuiltinOperator`` of its schema; TensorRT, ``LayerType`` and
what its inspector writes (``Reformat``, ``Shuffle``); MNN, ``OpType`` of ``MNN.fbs``; OpenCV, the
layers of ``cv2.dnn``.
"""

from __future__ import annotations

import re

TYPES = "conversion of types"
LAYOUT = "conversion of layouts"
CONVOLUTION = "convolutions"
PRODUCT = "matrix products"
ACTIVATION = "activations"
ELEMENTWISE = "elementwise arithmetic"
POOLING = "pooling and resizing"
SOFTMAX = "softmax and norms"
MOVING = "concatenating and slicing"
OTHER = "other"

CONVERSIONS = frozenset({TYPES, LAYOUT})
"""Families that change how values are kept, and compute nothing."""

_WORDS = {
    TYPES: "quantizelinear dequantizelinear dynamicquantizelinear cast fakequantize convert "
    "quantize dequantize quantize_per_tensor quantize_per_channel to _to_copy copy_ type_as "
    "int8tofloat floattoint8 castlike requantize",
    LAYOUT: "reorder reorderinput reorderoutput transpose permute reformat convertformat "
    "converttensor contiguous clone to_mkldnn to_dense mkldnn_reorder_conv2d_weight "
    "memcpytohost memcpyfromhost shuffle t nhwctransform",
    CONVOLUTION: "conv fusedconv nhwcfusedconv qlinearconv convinteger convtranspose convolution "
    "groupconvolution deconvolution binaryconvolution conv2d _convolution convolution_overrideable "
    "mkldnn_convolution thnn_conv2d slow_conv2d_forward cudnn_convolution conv_2d "
    "depthwise_conv_2d transpose_conv depthwiseconv2d convolutiondepthwise conv2 "
    "cudnn_convolution_relu caskconvolution qconv qgemm_conv convolutiontranspose "
    "mkldnn_prepacked::conv2d_run prepacked::conv2d_clamp_run deconv",
    PRODUCT: "matmul fusedmatmul gemm fusedgemm qgemm matmulinteger qlinearmatmul matmulnbits "
    "matmulintegertofloat dynamicquantizematmul attention qattention multiheadattention "
    "fullyconnected fully_connected batch_matmul linear addmm mm bmm baddbmm einsum innerproduct "
    "scaleddotproductattention scaled_dot_product_attention matrix_multiply matrixmultiply",
    ACTIVATION: "relu sigmoid qlinearsigmoid silu silu_ quickgelu swish swishcpu gelu biasgelu "
    "fastgelu qlinearleakyrelu leakyrelu hardsigmoid hardswish mish elu tanh clip clamp relu6 "
    "logistic hard_swish unaryop activation relu_ sigmoid_ hardswish_ leaky_relu prelu",
    ELEMENTWISE: "add sub mul div qlinearadd qlinearmul exp sqrt pow neg abs min max minimum "
    "maximum eltwise naryeltwise binaryop add_ mul_ sub_ div_ rsub subgraph where equal less "
    "greater elementwise pointwise pointwisev2 scale binary unary sum mean reduce reducemean "
    "reducesum reducemax arange range pwgen",
    POOLING: "maxpool nhwcmaxpool averagepool qlinearaveragepool globalaveragepool "
    "qlinearglobalaveragepool max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d "
    "max_pool_2d average_pool_2d pooling pool upsample resize interpolate upsample_nearest2d "
    "upsample_bilinear2d resize_nearest_neighbor resize_bilinear avgpool interp",
    SOFTMAX: "softmax qlinearsoftmax log_softmax _softmax layernormalization "
    "simplifiedlayernormalization skiplayernormalization instancenormalization batchnormalization "
    "layer_norm native_layer_norm batch_norm group_norm mvn rmsnorm normalizel2 normalization",
    MOVING: "concat qlinearconcat cat stack concatenation split splitv variadicsplit chunk "
    "split_with_sizes slice stridedslice strided_slice gather gathernd gatherelements "
    "index_select index reshape view unsqueeze squeeze flatten expand pad tile expand_dims pack "
    "unpack select narrow as_strided scatternd scatterelements raster noop identity broadcast "
    "broadcastto shapeof shape topk nonmaxsuppression unflatten unbind repeat crop",
}

FAMILIES = {word: family for family, words in _WORDS.items() for word in words.split()}

DYNAMIC = frozenset({"convinteger", "dynamicquantizelinear", "matmulinteger"})
"""Operators whose scales are made in every inference (ONNX Runtime, dynamic quantization)."""


def family(kind: str) -> str:
    """What an operator of this type does; ``OTHER`` for one that is not known.

    Of fused operators (``Conv+Add``, ``CONV_2D (XNNPACK)``) the first known word counts.
    """
    word = kind.lower()
    if word in FAMILIES:
        return FAMILIES[word]
    for part in re.split(r"[^a-z0-9_]+", word.replace("aten::", "")):
        if part in FAMILIES:
            return FAMILIES[part]
    return OTHER


def is_conversion(kind: str) -> bool:
    """Whether an operator only changes the type or the layout of values."""
    return family(kind) in CONVERSIONS
