"""Core ML: ML programs in FP32, FP16, INT8 and palettized form on Apple's CPU, GPU and NPU.

Converting works wherever coremltools does, on Linux too. Predicting is macOS's: the session below
is written against coremltools 9's API and was not run where Deploymark is tested. Core ML has no
setting for the number of threads; it decides by itself.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, foreign, loading, packages
from deploymark.backends.coreml import compress as coreml_compress
from deploymark.backends.coreml import package as coreml_package
from deploymark.backends.ends import End, sizes, unnamed
from deploymark.backends.one_array import require_one_array

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COMPUTE_UNITS = {
    "cpu": "CPU_ONLY",
    "all": "ALL",
    "cpu+ne": "CPU_AND_NE",
    "cpu+gpu": "CPU_AND_GPU",
}
"""Devices and the names of ``coremltools.ComputeUnit``."""

COMPUTE_DEVICES = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "ne",
}
"""Classes of a compute plan's devices and short names of them."""

PRECISIONS = tuple(coreml_compress.OPTIONS)

NEEDS_MACOS = "predicting needs macOS"
REMEDY = "Measure the package on a Mac; it is built here as well."

RUNTIME_OPTIONS: dict[str, tuple[base.Setting, ...]] = {
    "fast_prediction": (False, True),
    "low_precision_accumulation": (False, True),
}
"""Runtime options and their values; the first ones are Core ML's own.

``fast_prediction``: spend more time on loading to predict faster
(``SpecializationStrategy.FastPrediction``). ``low_precision_accumulation``: sums in float16 on the
GPU. Both need macOS 15."""


def on_macos() -> bool:
    """True where Core ML itself is there."""
    return platform.system() == "Darwin"


LOADER = """\
import coremltools as ct

named = {"all": "ALL", "cpu": "CPU_ONLY", "cpu+ne": "CPU_AND_NE", "cpu+gpu": "CPU_AND_GPU"}
units = getattr(ct.ComputeUnit, named["$device"])
file = str(Path(__file__).with_name("$entry"))
model = ct.models.MLModel(file, compute_units=units)
name = model.get_spec().description.input[0].name


def infer(images):
    return next(iter(model.predict({name: images}).values()))
"""


class CoreMlBackend(base.Backend):
    """Exports through ``torch.jit.trace`` and ``coremltools.convert``, runs an ``MLModel``."""

    name = "coreml"
    default_device = "all"
    export_packages = ("torch", "ultralytics", "coremltools", "scikit-learn")
    runtime_packages = ("coremltools",)
    runtime_modules = ("coremltools",)
    extra = "coreml"
    loader = LOADER
    runtime_options = RUNTIME_OPTIONS
    artifact_endings = (".mlpackage", ".mlmodel")
    portable = True

    def probe(self) -> base.Probe:
        """Converting is told apart from predicting, which macOS alone can."""
        version = packages.installed_version("coremltools")
        remedy = "pip install 'deploymark[coreml]'"
        if version is None or packages.missing(["coremltools"]):
            return base.Probe.absent(self.name, remedy)
        missing = packages.missing(["torch"])
        return base.Probe.present(self.name, version, _services(), missing=missing, remedy=remedy)

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``coreml_compress.OPTIONS``."""
        return coreml_compress.resolve(precision, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.mlpackage``; the same request gives the same bytes."""
        if request.precision not in PRECISIONS:
            raise base.UnsupportedError(f"coreml has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        if request.precision == "int8" and not on_macos():
            raise base.UnavailableError(
                "Core ML's int8 is calibrated by predicting, which needs macOS",
                remedy="Export int8 on a Mac, or take int8-weights.",
            )
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.mlpackage")
        model = request.model()
        arithmetic = options.get("arithmetic") or {"fp32": "float32"}.get(
            request.precision, "float16"
        )
        program, sparse = coreml_compress.convert(
            model,
            shape=request.input_shape,
            arithmetic=arithmetic,
            target=options["target"],
        )
        with exporting.failures(f"Core ML's {request.precision} compression"):
            program = _compressed(program, model, request, options, sparse=sparse)
            with exporting.quiet("coremltools"):
                coreml_package.save(program, artifact.path)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """Facts of a package, such as Ultralytics', read from its specification alone."""
        specification = coreml_package.read(path)
        artifact = base.Artifact(path.parent, path.name)
        outputs = zip(
            specification.description.output,
            coreml_package.output_shapes(specification),
            strict=True,
        )
        found = foreign.facts(
            artifact,
            coreml_package.files(path),
            unnamed([coreml_package.input_shape(specification, path)]),
            [End(output.name, sizes(shape), "float32") for output, shape in outputs],
            foreign.read_metadata(specification.description.metadata.userDefined),
            precision=coreml_package.precision(specification),
            told=told,
        )
        require_one_array(self.name, found.output)
        return found

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Let Core ML compile the package for one set of compute units, on macOS."""
        hints = self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        specification = coreml_package.read(artifact.path)
        found = coreml_package.input_shape(specification, artifact.path)
        loading.require_shape(artifact.path, found, options)
        if not on_macos():
            raise base.UnavailableError(NEEDS_MACOS, remedy=REMEDY)
        if options.device not in COMPUTE_UNITS:
            raise base.UnavailableError(f"Core ML has no device {options.device!r}")
        ct = coreml_package.coremltools()
        units = getattr(ct.ComputeUnit, COMPUTE_UNITS[options.device])
        try:
            with exporting.quiet("coremltools"):
                model = ct.models.MLModel(
                    str(artifact.path),
                    compute_units=units,
                    optimization_hints=_hints(ct, hints),
                )
                # Core ML's own refusal is a warning to coremltools until something is asked.
                compiled = model.get_compiled_model_path()
        except Exception as error:
            raise base.LoadError(
                f"Core ML refuses {artifact.path}: {type(error).__name__}: {error}"
            ) from error
        return CoreMlSession(model, specification, compiled, units, options)


class CoreMlSession(base.Session):
    """An ``MLModel`` of one input, an array or an image, and one output."""

    def __init__(
        self, model: Any, specification: Any, compiled: str, units: Any, options: base.LoadOptions
    ) -> None:
        super().__init__(options.input_shape)
        self._predict = model.predict
        self._specification = specification
        self._compiled = compiled
        self._units = units
        feature = specification.description.input[0]
        self._input = feature.name
        self._output = specification.description.output[0].name
        self._takes_image = feature.type.WhichOneof("Type") == "imageType"
        if self._takes_image and options.input_shape[0] != 1:
            raise base.LoadError("a Core ML image input takes one image at a time")
        if self._takes_image and options.spec != base.PLAIN_INPUT:
            raise base.LoadError(
                "a Core ML image input scales its pixels itself",
                remedy="Leave `input` out: its range is that of the package.",
            )

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One prediction; a float16 output is widened.

        An image input takes 8-bit pixels, so [0, 1] is rounded to 255ths; the model scales back.
        """
        import numpy as np

        given: Any = images
        if self._takes_image:
            from PIL import Image

            pixels = np.rint(images[0].transpose(1, 2, 0) * 255).astype(np.uint8)
            given = Image.fromarray(pixels, "RGB")
        output = self._predict({self._input: given})[self._output]
        return np.ascontiguousarray(output, dtype=np.float32)

    def executed_precision(self) -> base.ExecutedPrecision:
        """Operations by compute unit and type: ``conv@ne:f16``.

        The unit is the compute plan's, which Core ML makes for this machine, the type that of the
        program that it compiled. Where activations are quantized, Core ML does not tell whether a
        convolution really computes in 8 bits.
        """
        try:
            units = self._planned_units()
        except Exception as error:  # noqa: BLE001 - older systems have no plan, and say so in their own ways
            return base.ExecutedPrecision(
                reason=f"this system gives no compute plan: {type(error).__name__}: {error}"
            )
        if coreml_package.precision(self._specification) == "int8":
            ran = ", ".join(sorted({unit for name, unit in units.items()}))
            return base.ExecutedPrecision(
                reason="Core ML tells where a quantized layer runs "
                f"({ran}), not whether it computes in 8 bits"
            )
        counts: dict[str, int] = {}
        for operation in coreml_package.operations(self._specification):
            unit = units.get(operation.outputs[0].name) if operation.outputs else None
            if unit is not None:
                key = f"{operation.type}@{unit}:{coreml_package.type_of(operation)}"
                counts[key] = counts.get(key, 0) + 1
        return base.ExecutedPrecision(dict(sorted(counts.items())), source="compute plan")

    def _planned_units(self) -> dict[str, str]:
        """Compute unit by name of an operation's first output. Needs macOS 14.4."""
        ct = coreml_package.coremltools()
        plan = ct.models.compute_plan.MLComputePlan.load_from_path(
            path=self._compiled, compute_units=self._units
        )
        units = {}
        for function in plan.model_structure.program.functions.values():
            for operation in function.block.operations:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                if usage is not None and operation.outputs:
                    device = type(usage.preferred_compute_device).__name__
                    units[operation.outputs[0].name] = COMPUTE_DEVICES.get(device, device)
        return units


def _hints(ct: Any, hints: Mapping[str, base.Setting]) -> dict[str, Any] | None:
    """The hints as coremltools takes them; None asks nothing, which older systems need."""
    if not any(hints.values()):
        return None
    strategy = ct.SpecializationStrategy
    return {
        "specializationStrategy": strategy.FastPrediction
        if hints["fast_prediction"]
        else strategy.Default,
        "allowLowPrecisionAccumulationOnGPU": hints["low_precision_accumulation"],
    }


def _services() -> dict[tuple[str, str], base.Service]:
    """What each device serves; on a Mac without a Neural Engine, ``cpu+ne`` is not served."""
    if not on_macos():
        elsewhere = base.Service(served=False, reason=NEEDS_MACOS, remedy=REMEDY)
        return {(device, name): elsewhere for device in COMPUTE_UNITS for name in PRECISIONS}
    services = {
        (device, name): base.Service(served=True) for device in COMPUTE_UNITS for name in PRECISIONS
    }
    if platform.machine() != "arm64":
        none = base.Service(served=False, reason="this Mac has no Neural Engine")
        return services | {("cpu+ne", name): none for name in PRECISIONS}
    services["cpu+ne", "fp32"] = base.Service(
        served=True,
        native=False,
        reason="the Neural Engine has no float32: such layers run on the CPU",
    )
    return services


def _compressed(
    program: Any,
    model: Any,
    request: base.ExportRequest,
    options: Mapping[str, Any],
    *,
    sparse: bool,
) -> Any:
    """The program in the form that the precision stores and computes in."""
    if request.precision == "palettized":
        return coreml_compress.palettize(program, options["bits"], options["mode"])
    if request.precision == "int8-weights":
        return coreml_compress.quantize_weights(program, options["mode"])
    if request.precision == "int8":
        modules = [path for path, _ in model.named_modules()]
        floats = coreml_compress.float_operations(program, modules, request.float_nodes)
        images = request.calibration() if request.calibration is not None else ()
        rounded = coreml_compress.quantize_activations(program, images, request.batch, floats)
        return coreml_compress.quantize_weights(rounded, "linear_symmetric")
    if sparse and options["sparse"] == "auto":
        return coreml_compress.sparsify(program)
    return program
