"""Static INT8 for OpenVINO with NNCF, with control of what it costs where asked."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from deploymark.backends import ptq
from deploymark.backends.agreement import agreement
from deploymark.backends.base import ExportError, ExportRequest, Outputs
from deploymark.backends.inputs import extra_inputs
from deploymark.backends.onnx.graph import INPUT_NAME, matching, output_names
from deploymark.backends.onnxruntime.quantize import batches
from deploymark.backends.options import OpenOption, is_share, resolve_choices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Inputs = Union["npt.NDArray[np.float32]", Mapping[str, "npt.NDArray[Any]"]]
"""What one inference is given."""

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

OPEN_OPTIONS: dict[str, OpenOption] = {
    ACCURACY_CONTROL: OpenOption(
        None,
        "null or a number between 0 and 1",
        lambda value: value is None or is_share(value),
    ),
    **ptq.OPTIONS,
}
"""Options of an INT8 export that are no choice of a few values."""

BIASED = "/WithoutBiases"
"""What OpenVINO adds to the name of a convolution, as it gives the name itself to the addition of
its bias."""

RANKING_BATCHES = 16
"""Batches on which each group of layers is tried in float: those where INT8 agrees least."""


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """INT8 options with every default explicit.

    Raises UnsupportedError for an unknown option or value.
    """
    return resolve_choices("openvino", CHOICES, options, OPEN_OPTIONS)


def quantize(
    model: Any, request: ExportRequest, options: Mapping[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """Quantize an OpenVINO model, all but ``request.float_nodes`` and ``float_layers``.

    ``options`` as ``resolve`` gives them. Returns the quantized model and notes on it. Raises
    ExportError without calibration images, for a layer that is not there, and where no choice of
    layers keeps the drop within the limit asked for.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = request.calibration() if request.calibration is not None else ()
    images = ptq.first_images(images, options["calibration_images"])
    arrays = batches(images, request.batch)
    names = [node.get_friendly_name() for node in model.get_ops()]
    known = layers(model)
    asked = ptq.chosen(known, options["float_layers"])
    floats = matching(names, request.float_nodes)
    floats += [node for layer in asked for node in known[layer] if node not in floats]
    notes = ptq.note(options["float_layers"], asked)
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
            given = nncf.Dataset(inputs_of(request, arrays))
            plain = nncf.quantize(model, given, advanced_parameters=advanced, **settings)
            return plain, notes
        controlled = _controlled(
            model,
            inputs_of(request, arrays),
            request,
            options[ACCURACY_CONTROL],
            {**settings, "advanced_quantization_parameters": advanced},
        )
        return controlled, notes


def inputs_of(
    request: ExportRequest, arrays: Sequence[npt.NDArray[np.float32]]
) -> Sequence[Inputs]:
    """What each inference on a batch is given: the images, or a mapping with the inputs besides."""
    extra = extra_inputs(request.detector.spec, request.input_shape)
    return [{INPUT_NAME: images, **extra} for images in arrays] if extra else arrays


def layers(model: Any) -> dict[str, list[str]]:
    """The nodes of each layer, as ``ptq.layers`` has them, of an OpenVINO model read from ONNX.

    Left out are constants and the arithmetic of shapes, which are no work of the model, and the
    node that gives the output, whose name is the output's.
    """
    names = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() != "Constant" and node.get_output_element_type(0).is_real()
    ]
    nodes = {name: name.removesuffix(BIASED) for name in names if name.startswith("/")}
    stems = ptq.layers(dict.fromkeys(nodes.values()))
    return {
        layer: [name for name, stem in nodes.items() if stem in members]
        for layer, members in stems.items()
    }


def _controlled(
    model: Any,
    inputs: Sequence[Inputs],
    request: ExportRequest,
    limit: float,
    settings: Mapping[str, Any],
) -> Any:
    """Quantize, then revert layers until agreement is at least 1 - ``limit``.

    All calibration images serve for both ranges and agreement: they are few, a range is two numbers
    a tensor and hardly bends to them, and with the limit met at once the file is the one that plain
    INT8 makes. The images scored are never seen.
    """
    import nncf

    core, output, size = _core(), request.detector.output, request.imgsz
    names = output_names(output)
    items = [
        (given, raw)
        for given, raw in zip(inputs, _outputs(core, model, inputs, names), strict=True)
    ]

    def validate(compiled: Any, chosen: Iterable[tuple[Any, Any]]) -> tuple[float, list[float]]:
        pairs = [(raw, _ordered(compiled(given), names)) for given, raw in chosen]
        by_batch = [agreement([raw], [found], output, size) for raw, found in pairs]
        expected, found = [raw for raw, _ in pairs], [found for _, found in pairs]
        return agreement(expected, found, output, size), by_batch

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
    found = _outputs(core, quantized, inputs, names)
    reached = agreement([raw for _, raw in items], found, output, size)
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
    core: Any, model: Any, inputs: Sequence[Inputs], names: Sequence[str]
) -> list[Outputs]:
    """Raw outputs in float32 arithmetic: left alone, the CPU plugin may take bf16."""
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [_ordered(compiled(given), names) for given in inputs]


def _ordered(found: Any, names: Sequence[str]) -> Outputs:
    """The arrays of an inference in the order of their contract."""
    if len(names) == 1:
        only: npt.NDArray[np.float32] = found[0]
        return only
    return tuple(found[name] for name in names)
