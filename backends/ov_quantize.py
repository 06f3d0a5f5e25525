"""Static INT8 for OpenVINO with NNCF, with control of what it costs where asked."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backends.agreement import agreement
from backends.base import ExportError, ExportRequest, OutputLayout, UnsupportedError
from backends.onnx_graph import matching
from backends.options import resolve_choices
from backends.ort_quantize import batches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHOICES = {
    "preset": ("mixed", "performance"),
    "overflow_fix": ("first_layer_only", "enable", "disable"),
}
"""Options of an INT8 export and their values, the default first (``nncf.QuantizationPreset`` and
``nncf.OverflowFix``). ``overflow_fix`` is where weights get 7 bits against saturating products."""

ACCURACY_CONTROL = "accuracy_control"
"""Option of an INT8 export: the largest drop of agreement with the FP32 model (``agreement``), a
number between 0 and 1, or null (the default) for no control. NNCF then reverts to float, one after
the other, the groups of layers whose rounding costs most, until the drop is within the limit. It
first tries each of some hundred groups, which takes minutes, and longer than a build may take by
default on a slow or busy machine (``limits: build_timeout_s``)."""

RANKING_BATCHES = 16
"""Batches on which each group of layers is tried in float: those where INT8 agrees least."""


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8 options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    given = dict(options)
    limit = given.pop(ACCURACY_CONTROL, None)
    try:
        resolved = resolve_choices("openvino", CHOICES, given)
    except UnsupportedError as error:
        error.remedy = error.remedy and f"Its options are {', '.join(CHOICES)}, {ACCURACY_CONTROL}."
        raise
    is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    if limit is not None and not (is_number and 0 < limit < 1):
        raise UnsupportedError(
            f"openvino's option {ACCURACY_CONTROL} is null or a number between 0 and 1, "
            f"got {limit!r}"
        )
    return resolved | {ACCURACY_CONTROL: None if limit is None else float(limit)}


def quantize(model: Any, request: ExportRequest, options: Mapping[str, Any]) -> Any:
    """Quantize an OpenVINO model, all but the nodes of ``request.float_nodes``.

    ``options`` as ``resolve`` gives them. Raises ExportError without calibration images, and where
    no choice of layers keeps the drop within the limit asked for.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = request.calibration() if request.calibration is not None else ()
    arrays = batches(images, request.batch)
    names = [node.get_friendly_name() for node in model.get_ops()]
    floats = matching(names, request.float_nodes)
    settings = {
        "preset": nncf.QuantizationPreset(options["preset"]),
        "subset_size": len(arrays),
        "ignored_scope": nncf.IgnoredScope(names=floats, validate=False),
    }
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix(options["overflow_fix"])
    )
    with io.StringIO() as sink, contextlib.redirect_stdout(sink):
        if options[ACCURACY_CONTROL] is None:
            return nncf.quantize(
                model, nncf.Dataset(arrays), advanced_parameters=advanced, **settings
            )
        return _controlled(
            model,
            arrays,
            request.detector.layout,
            options[ACCURACY_CONTROL],
            {**settings, "advanced_quantization_parameters": advanced},
        )


def _controlled(
    model: Any,
    arrays: Sequence[npt.NDArray[np.float32]],
    layout: OutputLayout,
    limit: float,
    settings: Mapping[str, Any],
) -> Any:
    """Quantize, then revert layers until agreement is at least 1 - ``limit``.

    All calibration images serve for both ranges and agreement: they are few, a range is two numbers
    a tensor and hardly bends to them, and with the limit met at once the file is the one that plain
    INT8 makes. The images scored are never seen.
    """
    import nncf

    core = _core()
    items = [
        (images, raw) for images, raw in zip(arrays, _outputs(core, model, arrays), strict=True)
    ]

    def validate(compiled: Any, chosen: Iterable[tuple[Any, Any]]) -> tuple[float, list[float]]:
        pairs = [(raw, compiled(images)[0]) for images, raw in chosen]
        by_batch = [agreement([raw], [found], layout) for raw, found in pairs]
        expected, found = [raw for raw, _ in pairs], [found for _, found in pairs]
        return agreement(expected, found, layout), by_batch

    quantized = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(items, lambda item: item[0]),
        nncf.Dataset(items, lambda item: item[0]),
        validate,
        max_drop=limit,
        drop_type=nncf.DropType.ABSOLUTE,
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=RANKING_BATCHES, num_ranking_workers=1
        ),
        **settings,
    )
    reached = agreement([raw for _, raw in items], _outputs(core, quantized, arrays), layout)
    if reached < 1 - limit:
        raise ExportError(
            f"with every layer tried in float, INT8 agrees with FP32 by {reached:.3f} only, "
            f"not by {1 - limit:.3f}",
            remedy=f"Raise {ACCURACY_CONTROL}.",
        )
    return quantized


def _core() -> Any:
    import openvino as ov

    return ov.Core()


def _outputs(
    core: Any, model: Any, arrays: Sequence[npt.NDArray[np.float32]]
) -> list[npt.NDArray[np.float32]]:
    """Raw outputs in float32 arithmetic: left alone, the CPU plugin may take bf16."""
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [compiled(images)[0] for images in arrays]
