"""OpenVINO: IR files in FP32, FP16 and NNCF's static INT8 on its CPU, GPU and NPU plugins."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import accelerators, cpu, packages, telemetry
from backends.base import (
    Artifact,
    Backend,
    BackendError,
    ExecutedPrecision,
    ExportError,
    ExportRequest,
    LoadError,
    LoadOptions,
    Probe,
    Service,
    Session,
    UnavailableError,
    UnsupportedError,
)
from backends.onnx_graph import matching, quiet, write_onnx
from backends.options import resolve_choices
from backends.ort_quantize import batches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Here, as whoever resolves this backend may import the runtime before it calls ``load``.
telemetry.silence()

PRECISION_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""What ``INFERENCE_PRECISION_HINT`` says for the float part. Left alone the CPU plugin takes bf16
or f16 where the CPU has it, also for an FP32 model; INT8 models' float layers run in f32."""

INT8_OPTIONS = {
    "preset": ("mixed", "performance"),
    "overflow_fix": ("first_layer_only", "enable", "disable"),
}
"""Options of an INT8 export and their values, the default first (``nncf.QuantizationPreset`` and
``nncf.OverflowFix``). ``overflow_fix`` is where weights get 7 bits against saturating products."""

NOT_EXECUTED = frozenset({"Const", "Input", "Output"})
"""Layer types of a runtime model that stand for data, not for work."""


class OpenVinoBackend(Backend):
    """Exports by way of ONNX and runs a compiled model with one infer request."""

    name = "openvino"
    export_packages = ("torch", "ultralytics", "onnx", "openvino", "nncf")
    runtime_packages = ("openvino",)
    runtime_modules = ("openvino",)
    extra = "openvino"

    def probe(self) -> Probe:
        """The CPU is always served; a GPU or NPU is where the system shows its driver."""
        version = packages.installed_version("openvino")
        if version is None or packages.missing(["openvino"]):
            return Probe(
                self.name,
                installed=False,
                reason="not installed",
                remedy="pip install 'deploymark[openvino]'",
            )
        missing = packages.missing(["torch", "onnx", "nncf"])
        return Probe(
            self.name,
            installed=True,
            version=version,
            can_export=not missing,
            services=self._services(),
            reason=f"cannot export without {', '.join(missing)}" if missing else "",
            remedy="pip install 'deploymark[openvino]'" if missing else "",
        )

    def _services(self) -> dict[tuple[str, str], Service]:
        here = cpu.detect()
        half = "OpenVINO computes float16 in float32 on this CPU, which has no half arithmetic"
        brain = "OpenVINO computes bfloat16 in float32 on this CPU, which has no such instructions"
        services = {
            ("cpu", "fp32"): Service(served=True),
            ("cpu", "fp16"): Service(
                served=True, native=here.has_fp16, reason="" if here.has_fp16 else half
            ),
            ("cpu", "bf16"): Service(
                served=True, native=here.has_bf16, reason="" if here.has_bf16 else brain
            ),
            ("cpu", "int8"): Service(served=True),
        }
        found = {"gpu": accelerators.has_intel_gpu(), "npu": accelerators.has_intel_npu()}
        for device, present in found.items():
            if present:
                served = ("fp32", "fp16", "int8") if device == "gpu" else ("fp16", "int8")
                services |= {(device, precision): Service(served=True) for precision in served}
        return services

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 takes ``INT8_OPTIONS``; other precisions have no options."""
        if precision != "int8":
            return super().resolve_options(precision, options)
        return resolve_choices(self.name, INT8_OPTIONS, options)

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.xml`` and ``model.bin``.

        FP32, BF16 and INT8 files keep float weights in float32 (BF16 is the plugin's doing at load
        time); FP16 files store them in float16.
        """
        if request.precision not in PRECISION_HINTS:
            raise UnsupportedError(f"openvino has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, "model.xml")
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "fp32.onnx")
            write_onnx(request.model(), source, batch=request.batch, imgsz=request.imgsz)
            try:
                import openvino as ov

                with quiet("nncf", "openvino"):
                    model = ov.convert_model(source)
                    if request.precision == "int8":
                        model = _quantize(model, request, options)
                    ov.save_model(
                        model, artifact.path, compress_to_fp16=request.precision == "fp16"
                    )
            except BackendError:
                raise
            except Exception as error:
                raise ExportError(
                    f"OpenVINO's {request.precision} conversion failed: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return artifact

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Compile the model for one device, one stream, ``options.threads`` threads."""
        pinning = session_pinning(options)
        weights = artifact.path.with_suffix(".bin")
        for path in (artifact.path, weights):
            if not path.is_file():
                raise LoadError(f"there is no file {path}")
        try:
            import openvino as ov
        except ImportError as error:
            raise UnavailableError(
                f"openvino cannot be imported: {error}",
                remedy="pip install 'deploymark[openvino]'",
            ) from error
        core = ov.Core()
        try:
            model = core.read_model(artifact.path, weights)
        except Exception as error:
            raise LoadError(f"OpenVINO refuses {artifact.path}: {_first_line(error)}") from error
        found = tuple(model.input(0).get_partial_shape().to_shape())
        if found != options.input_shape:
            raise LoadError(
                f"{artifact.path} takes images of shape {found}, not {options.input_shape}"
            )
        plugin = options.device.upper()
        if plugin not in {name.partition(".")[0] for name in core.available_devices}:
            raise UnavailableError(
                f"OpenVINO finds no device {options.device!r} here "
                f"(it finds {', '.join(core.available_devices)})"
            )
        properties = _properties(options, plugin, pinning=pinning)
        if plugin != "NPU":
            capabilities = core.get_property(plugin, "OPTIMIZATION_CAPABILITIES")
            properties["INFERENCE_PRECISION_HINT"] = precision_hint(options.precision, capabilities)
        try:
            compiled = core.compile_model(model, plugin, properties)
        except Exception as error:
            message = f"OpenVINO cannot compile {artifact.path} for {plugin}: {_first_line(error)}"
            if plugin == "CPU":
                raise LoadError(message) from error
            raise UnavailableError(message) from error
        return OpenVinoSession(compiled, options.input_shape)


class OpenVinoSession(Session):
    """A compiled model and its one infer request."""

    def __init__(self, compiled: Any, input_shape: tuple[int, int, int, int]) -> None:
        super().__init__(input_shape)
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._output = self._request.get_output_tensor(0).data

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One synchronous inference; the input is read in place, the output is reused."""
        self._request.infer({0: images}, share_inputs=True, share_outputs=True)
        predictions: npt.NDArray[np.float32] = self._output
        return predictions

    def executed_precision(self) -> ExecutedPrecision:
        """Layers by data type, from the runtime model that the plugin made."""
        counts: dict[str, int] = {}
        for node in self._compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" not in info or "runtimePrecision" not in info:
                continue
            layer = info["layerType"].astype(str)
            kernel = info["primitiveType"].astype(str) if "primitiveType" in info else ""
            if layer in NOT_EXECUTED:
                continue
            key = f"{layer}:{executed_type(info['runtimePrecision'].astype(str), kernel)}"
            counts[key] = counts.get(key, 0) + 1
        if not counts:
            return ExecutedPrecision(reason="this OpenVINO plugin does not report its layers")
        return ExecutedPrecision(dict(sorted(counts.items())), source="runtime model")


def executed_type(runtime_precision: str, kernel: str) -> str:
    """The type a layer computes in: ``f32``, ``u8`` and so on.

    ``runtime_precision`` is what the runtime model says; for a convolution whose weights are stored
    in f16 that is f16, also where the kernel computes in f32. The name of the ``kernel``
    (``brgconv_avx2_f32``) tells, so a floating type in it wins over another one.
    """
    suffix = kernel.rpartition("_")[2].lower()
    floating = ("f32", "f16", "bf16")
    return suffix if suffix in floating and runtime_precision in floating else runtime_precision


def precision_hint(precision: str, capabilities: Sequence[str]) -> str:
    """The hint that keeps a cell in its precision, given a plugin's ``OPTIMIZATION_CAPABILITIES``.

    Asked for f16, the CPU plugin takes bf16 where the CPU has bf16 and no half arithmetic. There an
    FP16 cell computes in f32 on its f16 weights instead (``Service.native`` is False).
    """
    hint = PRECISION_HINTS[precision]
    return "f32" if hint == "f16" and "FP16" not in capabilities else hint


def session_pinning(options: LoadOptions) -> bool:
    """Whether threads are bound to cores: the option ``pinning``, off by default.

    No other runtime here binds its threads, and on a shared machine a bound thread cannot leave a
    busy core. Raises UnsupportedError for another option, or a value that is no truth value.
    """
    unknown = sorted(set(options.options) - {"pinning"})
    if unknown:
        raise UnsupportedError(
            f"openvino has no runtime option {', '.join(unknown)}", remedy="Its option is pinning."
        )
    pinning = options.options.get("pinning", False)
    if not isinstance(pinning, bool):
        raise UnsupportedError(f"openvino's option pinning is true or false, got {pinning!r}")
    return pinning


def _properties(options: LoadOptions, plugin: str, *, pinning: bool) -> dict[str, Any]:
    """Everything that decides speed, spelled out."""
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": ""}
    if plugin != "NPU":
        properties["NUM_STREAMS"] = "1"
    if plugin == "CPU":
        properties["INFERENCE_NUM_THREADS"] = options.threads
        properties["ENABLE_CPU_PINNING"] = pinning
        properties["SCHEDULING_CORE_TYPE"] = "ANY_CORE"
        properties["ENABLE_HYPER_THREADING"] = False
        properties["EXECUTION_MODE_HINT"] = "PERFORMANCE"
    return properties


def _quantize(model: Any, request: ExportRequest, options: Mapping[str, Any]) -> Any:
    """Quantize an OpenVINO model with NNCF, all but the nodes of ``request.float_nodes``."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = request.calibration() if request.calibration is not None else ()
    arrays = batches(images, request.batch)
    names = [node.get_friendly_name() for node in model.get_ops()]
    floats = matching(names, request.float_nodes)
    with io.StringIO() as sink, contextlib.redirect_stdout(sink):
        return nncf.quantize(
            model,
            nncf.Dataset(arrays),
            preset=nncf.QuantizationPreset(options["preset"]),
            subset_size=len(arrays),
            ignored_scope=nncf.IgnoredScope(names=floats, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix(options["overflow_fix"])
            ),
        )


def _first_line(error: Exception) -> str:
    """An OpenVINO exception without the lines that quote its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return next(iter(said), type(error).__name__)
