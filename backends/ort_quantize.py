"""Static INT8 for ONNX Runtime: Q/DQ pairs placed from calibration images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import ExportError, UnsupportedError
from backends.onnx_graph import INPUT_NAME, matching, quiet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from backends.cpu import Cpu

CALIBRATIONS = ("minmax", "entropy", "percentile")
ACTIVATIONS = ("uint8", "int8")

OPTION_TYPES: dict[str, type] = {
    "calibration": str,
    "per_channel": bool,
    "reduce_range": bool,
    "activations": str,
}
"""The options of an INT8 export and the types of their values."""


def resolve(options: Mapping[str, Any], cpu: Cpu) -> dict[str, Any]:
    """INT8 options with every default explicit, some of which depend on the CPU.

    ``calibration``: minmax, entropy or percentile. ``per_channel``: one weight scale an output
    channel. ``activations``: uint8 or int8; uint8 is the fast one on x86, where int8 activations
    ran slower than FP32. ``reduce_range``: weights of 7 bits, so that two products fit 16 bits;
    default on x86 without VNNI, whose u8 x s8 multiply-add saturates (ONNX Runtime's advice in
    ``quantize_static``). Raises UnsupportedError for an unknown option or value.
    """
    unknown = sorted(set(options) - set(OPTION_TYPES))
    if unknown:
        raise UnsupportedError(
            f"onnxruntime's int8 export has no option {', '.join(unknown)}",
            remedy=f"Its options are {', '.join(OPTION_TYPES)}.",
        )
    resolved = {
        "calibration": "minmax",
        "per_channel": True,
        "reduce_range": cpu.is_x86 and not cpu.has_int8_dot,
        "activations": "uint8",
    } | dict(options)
    for name, kind in OPTION_TYPES.items():
        if not isinstance(resolved[name], kind):
            raise UnsupportedError(
                f"onnxruntime's option {name} takes a {kind.__name__}, got {resolved[name]!r}"
            )
    for name, allowed in (("calibration", CALIBRATIONS), ("activations", ACTIVATIONS)):
        if resolved[name] not in allowed:
            raise UnsupportedError(
                f"onnxruntime's option {name} is one of {', '.join(allowed)}, got {resolved[name]!r}"
            )
    return resolved


def batches(
    images: Sequence[npt.NDArray[np.float32]], batch: int
) -> list[npt.NDArray[np.float32]]:
    """Images of shape (1, 3, h, w) stacked to (batch, 3, h, w), all of them seen at least once.

    The last batch is filled up from the first images. Raises ExportError if there are none.
    """
    import numpy as np

    if not images:
        raise ExportError(
            "int8 needs calibration images and none were given",
            remedy="Give the data set a calibration split.",
        )
    count = -(-len(images) // batch) * batch
    filled = [images[index % len(images)] for index in range(count)]
    return [np.concatenate(filled[start : start + batch]) for start in range(0, count, batch)]


class _Reader:
    """Calibration batches, as ``quantize_static`` reads them (its ``CalibrationDataReader``)."""

    def __init__(self, arrays: Sequence[npt.NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self._next, self._end = 0, len(arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with this slice: called where activations are collected piecewise."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch by input name, None at the end."""
        if self._next >= self._end:
            return None
        self._next += 1
        return {INPUT_NAME: self._arrays[self._next - 1]}


def quantize(
    source: Path,
    target: Path,
    scratch: Path,
    images: Sequence[npt.NDArray[np.float32]],
    float_nodes: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Write ``source``, an FP32 ONNX file, to ``target`` with Q/DQ pairs.

    Every operator that ONNX Runtime can quantize is, but nodes that ``float_nodes`` match: a scale
    shared by boxes (hundreds of pixels) and scores (below one) would round all scores to zero.
    ``options`` as ``resolve`` gives them. ``scratch`` is a folder for files in between.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    prepared = scratch / "prepared.onnx"
    with quiet("", "root"), open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        # Shapes are fixed, so the ONNX shape inference sees all; the symbolic one needs sympy.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared, load_external_data=False).graph.node]
        extra = {"CalibStridedMinMax": 1} if options["calibration"] != "minmax" else {}
        quantize_static(
            prepared,
            target,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=types[options["activations"]],
            weight_type=QuantType.QInt8,
            per_channel=options["per_channel"],
            reduce_range=options["reduce_range"],
            calibrate_method=methods[options["calibration"]],
            nodes_to_exclude=matching(names, float_nodes),
            # Histograms of one batch at a time: all batches' activations would fill the memory.
            extra_options=extra,
        )
