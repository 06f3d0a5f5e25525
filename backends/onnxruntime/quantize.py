"""INT8 for ONNX Runtime: Q/DQ pairs placed from calibration images, or scales made at run time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import ptq
from deploymark.backends.base import ExportError, ExportRequest
from deploymark.backends.inputs import extra_inputs
from deploymark.backends.onnx.graph import matching
from deploymark.backends.onnxruntime import search as ort_search
from deploymark.backends.onnxruntime.calibrate import calibrate, quiet_quantizer
from deploymark.backends.options import OpenOption, is_count, is_share, resolve_choices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OPTIONS: dict[str, tuple[Any, ...]] = {
    "calibration": ("minmax", "entropy", "percentile"),
    "activations": ("uint8", "int8"),
    "per_channel": (True, False),
    "reduce_range": ("first_layer", "all", "none"),
    "decode": ("float", "int8"),
}
"""Options of an INT8 export and their values, the default first.

``activations``: uint8 is the fast type on x86; int8 ran slower than FP32 there. ``per_channel``:
one weight scale an output channel. ``reduce_range``: which weights get 7 bits. Without VNNI, x86
adds two u8 x s8 products in 16 saturating bits, which 7-bit weights cannot overflow. It is the
first layer that overflows, fed by pixels of the full range: a YOLO11n of mAP50-95 0.309 in FP32
scored 0.263 on such a CPU with ``none``, 0.293 with ``all`` and 0.309 with ``first_layer``. That
costs nothing on other CPUs (NNCF does it for all of them, ``OverflowFix.FIRST_LAYER``), so it is
the default everywhere and one artifact serves them all. ``decode``: whether the decode of boxes and
scores is quantized, too. A scale shared by boxes (hundreds of pixels) and scores (below one) rounds
all scores to zero: int8 is of use with ``max_drop`` only, or to see what it costs."""

OPEN_OPTIONS: dict[str, OpenOption] = {
    **ptq.OPTIONS,
    "max_drop": OpenOption(
        None,
        "null or a number between 0 and 1",
        lambda value: value is None or is_share(value),
    ),
    "search_images": OpenOption(16, "a whole number from 1", is_count),
}
"""Options of an INT8 export that are no choice of a few values.

``max_drop``: the largest loss of agreement with the FP32 model (``agreement``) over the calibration
images. Layers are then searched that stay in float so that it is kept (``ort_search``), which takes
some minutes; null, the default, is no search. ``search_images``: how many of the calibration images
rank the layers: all of them judge, but ranking takes a trial a layer. For the others see
``ptq.OPTIONS``."""

DYNAMIC_OPTIONS: dict[str, tuple[Any, ...]] = {
    "weights": ("uint8", "int8"),
    "per_channel": (False, True),
    "reduce_range": (False, True),
}
"""Options of an INT8-dynamic export and their values, the default first. Activations are uint8.

``weights``: with int8 ones ONNX Runtime's ``ConvInteger`` leaves its fast kernels, more than three
times slower on x86. ``per_channel``: one scale an output channel of matrix products; its quantizer
gives a convolution's weights one scale in either case. ``reduce_range``: 7-bit weights, of use to
int8 ones on x86 without VNNI."""


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8 options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    return resolve_choices("onnxruntime", OPTIONS, options, OPEN_OPTIONS)


def resolve_dynamic(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8-dynamic options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    return resolve_choices("onnxruntime", DYNAMIC_OPTIONS, options)


def batches(images: Sequence[npt.NDArray[np.float32]], batch: int) -> list[npt.NDArray[np.float32]]:
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


def quantize(
    source: Path,
    target: Path,
    scratch: Path,
    request: ExportRequest,
    options: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write ``source``, an FP32 ONNX file, to ``target`` with Q/DQ pairs; returns notes on it.

    Every operator that ONNX Runtime can quantize is, but those of ``request.float_nodes`` (unless
    ``decode`` is int8), of ``float_layers``, and of the layers that a search keeps in float where
    there is a ``max_drop``. ``options`` as ``resolve`` gives them. ``scratch`` is a folder for
    files in between. Raises ExportError.
    """
    images = request.calibration() if request.calibration is not None else ()
    images = ptq.first_images(images, options["calibration_images"])
    arrays = batches(images, request.batch)
    extra = extra_inputs(request.detector.spec, request.input_shape)
    calibrated = calibrate(source, scratch, arrays, options, extra)
    known = ptq.layers(calibrated.nodes)
    decode = matching(calibrated.nodes, request.float_nodes) if options["decode"] == "float" else ()
    asked = ptq.chosen(known, options["float_layers"])
    fixed = {*decode, *(node for layer in asked for node in known[layer])}
    notes = ptq.note(options["float_layers"], asked)
    if options["max_drop"] is None:
        calibrated.write(target, fixed)
        return notes

    def write(path: Path, floats: Collection[str]) -> None:
        """Write a file whose named layers are in float besides."""
        calibrated.write(path, fixed.union(*(known[layer] for layer in floats)))

    rounded = calibrated.rounding - fixed
    candidates = [layer for layer in known if not rounded.isdisjoint(known[layer])]
    found = ort_search.search(
        candidates,
        ort_search.OnnxTrials(source, arrays, request, write, scratch),
        max_drop=options["max_drop"],
        ranking_batches=-(-options["search_images"] // request.batch),
    )
    write(target, found.kept)
    return (*notes, ort_search.note(found, len(candidates), len(images), options["max_drop"]))


def quantize_dynamically(
    source: Path,
    target: Path,
    scratch: Path,
    float_nodes: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Write ``source``, an FP32 ONNX file, to ``target`` with scales made at run time.

    Convolutions and products with weights become integer ones, but nodes that ``float_nodes``
    match. ``options`` as ``resolve_dynamic`` gives them; ``scratch`` is for files in between.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    prepared = scratch / "prepared.onnx"
    with quiet_quantizer():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared, load_external_data=False).graph
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=["Conv", "MatMul"],
            per_channel=options["per_channel"],
            reduce_range=options["reduce_range"],
            weight_type=types[options["weights"]],
            nodes_to_exclude=matching((node.name for node in graph.node), float_nodes),
        )
