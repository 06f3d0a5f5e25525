"""What really ran against what a cell says: the convolutions' data types, and a warning."""

from __future__ import annotations

import re
from collections.abc import Mapping

COMPUTES_IN = {
    "fp32": frozenset({"f32"}),
    "fp16": frozenset({"f16"}),
    "bf16": frozenset({"bf16"}),
    "int8": frozenset({"i8", "u8"}),
    "int8-dynamic": frozenset({"i8", "u8"}),
    "int8-qat": frozenset({"i8", "u8"}),
}
"""Data types that a precision's convolutions compute in. Precisions that only store weights in
fewer bits (``int8-weights``, ``palettized``) promise no arithmetic, and are not here."""

MOSTLY = 0.5
"""Share of the convolutions that must run in the precision's type. Some layers stay in float by
design: the decode, layers that a recipe keeps."""


_CONVOLUTION = re.compile(r"conv(?!er)", re.IGNORECASE)
"""Names of convolutions; ``Convert``, ``conversion`` and ``convert_element_type`` are none."""


def convolutions(layers: Mapping[str, int]) -> dict[str, int]:
    """Counts of convolutions by data type, from counts by ``"Convolution:f32"`` and the like.

    Every runtime has its own names: Conv, FusedConv, QLinearConv, CONV_2D, conv2d, ….
    """
    counts: dict[str, int] = {}
    for key, count in layers.items():
        operator, _, data_type = key.rpartition(":")
        if _CONVOLUTION.search(operator):
            counts[data_type] = counts.get(data_type, 0) + count
    return counts


def contradiction(precision: str, layers: Mapping[str, int]) -> str | None:
    """A sentence where the layers contradict the cell's precision, None where they do not.

    FP32 is exact: one convolution in fewer bits contradicts it. Of other precisions half of the
    convolutions must run in their type.
    """
    wanted = COMPUTES_IN.get(precision)
    found = convolutions(layers)
    total = sum(found.values())
    if wanted is None or not total:
        return None
    inside = sum(count for data_type, count in found.items() if data_type in wanted)
    if inside == total or (precision != "fp32" and inside >= MOSTLY * total):
        return None
    ran = ", ".join(
        f"{count} in {data_type}" for data_type, count in sorted(found.items()) if count
    )
    return f"a cell of {precision}, but of its {total} convolutions ran {ran}"
