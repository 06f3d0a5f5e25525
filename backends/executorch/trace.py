"""What an ETDump, ExecuTorch's record of a run, says of the operators that ran."""

from __future__ import annotations

import re

OPERATOR = re.compile(rb"([A-Z][A-Za-z0-9 -]*) \(([A-Z]+(?:, [A-Z0-9]+)+)\)[A-Za-z0-9 ]* #\d+\0")
"""XNNPACK's name of an operator that ran, ``Convolution (NHWC, F32) IGEMM #3``: the order of axes,
then the types. ExecuTorch's ``XNNProfiler`` asks XNNPACK for it and writes one event each."""

TYPES = {
    b"F32": "f32",
    b"PF32": "f32",
    b"F16": "f16",
    b"PF16": "f16",
    b"BF16": "bf16",
    b"QS8": "i8",
    b"QC8": "i8",
    b"QD8": "i8",
    b"QP8": "i8",
    b"PQS8": "i8",
    b"QU8": "u8",
}
"""XNNPACK's types: floats, packed ones, and integers with one scale, a scale a channel, or scales
found while running. X8 and X32 are bits that are moved only."""

FULLY_CONNECTED = "Fully Connected"
"""XNNPACK runs a convolution of 1 x 1 pixels as a fully connected layer, and tells no difference
between the two."""

POINTWISE = "Convolution 1x1 or Fully Connected"


def layers(dump: bytes) -> dict[str, int]:
    """Counts of XNNPACK's operators by data type, ``"Convolution:f32"`` and the like.

    Where an operator has several types the first is that of its activations, which it computes in.
    Operators without a type in their name (sigmoid, additions, copies) are left out.
    """
    counts: dict[str, int] = {}
    for operator, types in OPERATOR.findall(dump):
        data_type = TYPES.get(types.split(b", ")[1])
        if data_type is None:
            continue
        name = operator.decode("ascii")
        key = f"{POINTWISE if name == FULLY_CONNECTED else name}:{data_type}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))
