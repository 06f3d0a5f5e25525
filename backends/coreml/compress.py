"""From a torch module to a compressed Core ML model: options, conversion, compression."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import ExportError
from deploymark.backends.coreml.package import coremltools
from deploymark.backends.exporting import forward_once, quiet
from deploymark.backends.onnx.graph import INPUT_NAME, OUTPUT_NAME
from deploymark.backends.onnxruntime.quantize import batches
from deploymark.backends.options import resolve_choices
from deploymark.backends.pytorch.half import is_float

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TARGETS = ("iOS17", "iOS18", "iOS16")
"""Values of ``target`` (``minimum_deployment_target``), the default first: iOS 17 and macOS 14 are
the first to know quantized activations, so one target serves every precision."""

SPARSE = ("auto", "never")
ARITHMETIC = ("float16", "float32")

OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "fp32": {"target": TARGETS, "sparse": SPARSE},
    "fp16": {"target": TARGETS, "sparse": SPARSE},
    "int8-weights": {
        "target": TARGETS,
        "arithmetic": ARITHMETIC,
        "mode": ("linear_symmetric", "linear"),
    },
    "palettized": {
        "target": TARGETS,
        "arithmetic": ARITHMETIC,
        "bits": (6, 8, 4, 3, 2, 1),
        "mode": ("kmeans", "uniform"),
    },
    "int8": {"target": TARGETS[:2], "arithmetic": ARITHMETIC},
}
"""Options of an export by precision and their values, the default first.

``sparse``: weights that a recipe pruned are stored without their zeros where that makes a layer
smaller. ``arithmetic``: what compressed weights unpack to and layers compute in; the Neural Engine
has float16 only. ``bits`` of one palette index. ``mode`` of the scales, or of finding a palette.
"""

SMALLEST_COMPRESSED = 512
"""Weights of fewer elements stay as they are: all of them together are a few kilobytes, and the
decode's fixed ones are among them. (coremltools' own default is 2048.)"""

LEAST_SPARSITY = 0.3
"""Share of zeros from which a layer is stored sparse. One bit a weight says which are zero, so in
float16 a share of a sixteenth breaks even; below this one the gain is not worth unpacking."""

ZERO = 1e-12
"""Magnitude up to which coremltools takes a weight for zero."""


def resolve(precision: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Export options with every default explicit. Raises UnsupportedError for any other."""
    return resolve_choices("coreml", OPTIONS.get(precision, {}), options)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hold back progress bars and notes; a failure still raises."""
    with quiet("coremltools"), io.StringIO() as sink, contextlib.redirect_stderr(sink):
        yield


def _gather_by_integers() -> None:
    """Let the converter take indices that come out of a division.

    It types ``index // n`` float32, as PyTorch once did, and then refuses to gather by it, which is
    how one-to-one heads find the place of a chosen class. A gather's indices are whole numbers
    whatever their type, so they are cast; PyTorch itself takes no others.
    """
    from coremltools.converters.mil import Builder, register_torch_op

    @register_torch_op(override=True)  # type: ignore[untyped-decorator]
    def gather(context: Any, node: Any) -> None:
        values, axis, indices = (context[name] for name in node.inputs[:3])
        whole = Builder.cast(x=indices, dtype="int32")
        context.add(
            Builder.gather_along_axis(x=values, indices=whole, axis=axis.val, name=node.name)
        )


def convert(
    model: Any, *, shape: tuple[int, int, int, int], arithmetic: str, target: str
) -> tuple[Any, bool]:
    """An ML program of float32 input and output, and whether weights of it are sparse.

    ``model``: a torch module. Input ``images``, float32 of ``shape``, (batch, 3, height, width);
    output ``output0``. Raises ExportError.
    """
    import numpy as np
    import torch

    ct = coremltools()
    example = torch.zeros(shape)
    try:
        with torch.no_grad(), _silent():
            forward_once(model, example)
            _gather_by_integers()
            traced = torch.jit.trace(model, example, check_trace=False)
            program = ct.convert(
                traced,
                inputs=[ct.TensorType(INPUT_NAME, example.shape, dtype=np.float32)],
                outputs=[ct.TensorType(OUTPUT_NAME, dtype=np.float32)],
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, target),
                compute_precision=getattr(ct.precision, arithmetic.upper()),
                # Off macOS there is nothing to load it with; on it, the worker loads the file.
                skip_model_load=True,
            )
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"Core ML's conversion failed: {type(error).__name__}: {error}"
        ) from error
    return program, any(
        float((parameter.abs() <= ZERO).float().mean()) >= LEAST_SPARSITY
        for parameter in model.parameters()
        if parameter.numel() >= SMALLEST_COMPRESSED
    )


def sparsify(program: Any) -> Any:
    """Store weights that are zero in large part without their zeros."""
    optimize = _optimizers()
    config = optimize.OpThresholdPrunerConfig(
        threshold=ZERO,
        minimum_sparsity_percentile=LEAST_SPARSITY,
        weight_threshold=SMALLEST_COMPRESSED,
    )
    with _silent():
        return optimize.prune_weights(program, optimize.OptimizationConfig(global_config=config))


def quantize_weights(program: Any, mode: str) -> Any:
    """Store weights in 8 bits, one scale an output channel."""
    optimize = _optimizers()
    config = optimize.OpLinearQuantizerConfig(
        mode=mode,
        dtype="int8",
        granularity="per_channel",
        weight_threshold=SMALLEST_COMPRESSED,
    )
    with _silent():
        return optimize.linear_quantize_weights(
            program, optimize.OptimizationConfig(global_config=config)
        )


def palettize(program: Any, bits: int, mode: str) -> Any:
    """Store each weight as an index of ``bits`` bits into a palette of its layer."""
    optimize = _optimizers()
    config = optimize.OpPalettizerConfig(
        mode=mode,
        nbits=bits,
        granularity="per_tensor",
        weight_threshold=SMALLEST_COMPRESSED,
    )
    with _silent():
        return optimize.palettize_weights(
            program, optimize.OptimizationConfig(global_config=config)
        )


def quantize_activations(
    program: Any,
    images: Sequence[npt.NDArray[np.float32]],
    batch: int,
    floats: Iterable[str],
) -> Any:
    """Round activations to 8 bits, by ranges that they take on calibration images.

    coremltools finds the ranges by predicting, so this runs on macOS only, and was not run where
    Deploymark is tested. ``floats`` are names of operations to leave alone. Raises ExportError
    where there are no images.
    """
    optimize = _optimizers()
    ct = coremltools()
    samples = [{INPUT_NAME: array} for array in batches(images, batch)]
    config = optimize.OptimizationConfig(
        global_config=optimize.OpLinearQuantizerConfig(mode="linear_symmetric"),
        op_name_configs=dict.fromkeys(floats),
    )
    with _silent():
        # The converted program was not loaded; calibrating needs one that is.
        loaded = ct.models.MLModel(
            program.get_spec(),
            weights_dir=program.weights_dir,
            compute_units=ct.ComputeUnit.CPU_ONLY,
        )
        return optimize.linear_quantize_activations(loaded, config, samples)


def float_operations(program: Any, modules: Iterable[str], float_nodes: Sequence[str]) -> list[str]:
    """Names of a converted program's operations that are to stay in float.

    ``program`` comes from ``convert`` and still holds its graph. ``modules`` are the torch model's
    module paths (``model.23.dfl.conv``). An operation with a weight belongs to the module that the
    weight is named after, another one to the module that its scope names; scopes leave lists out
    (``23.0.2`` for ``model.23.cv2.0.2``), so one that several modules could have made stays in
    float only if all of them are to. Raises ExportError where patterns are given and none matches.
    """
    from coremltools.converters.mil.mil.scope import ScopeSource

    paths = [path for path in modules if path]
    by_weight = {path.replace(".", "_") + "_weight": path for path in paths}
    found = []
    for operation in program._mil_program.functions["main"].operations:  # noqa: SLF001 - no other way to its scopes
        weight = operation.inputs.get("weight")
        named = by_weight.get(str(weight.name).removesuffix("_to_fp16")) if weight else None
        scope = operation.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, [])[:-1]
        makers = [named] if named else [path for path in paths if _could_be(scope, path)]
        if makers and all(is_float(path, float_nodes) for path in makers):
            found.append(str(operation.name))
    if float_nodes and not found:
        raise ExportError(
            f"no operation of the Core ML program is named like {' or '.join(float_nodes)}"
        )
    return found


def _could_be(scope: Sequence[str], path: str) -> bool:
    """True if leaving out parts of a module path, but its last, can give the scope."""
    parts = path.split(".")
    if not scope or scope[-1] != parts[-1]:
        return False
    left = iter(parts)
    return all(part in left for part in scope)


def _optimizers() -> Any:
    coremltools()
    with quiet("coremltools"):
        import coremltools.optimize.coreml as optimize
    return optimize
