"""ONNX Runtime: FP32, FP16 and static INT8 ONNX files on its CPU and CUDA providers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import accelerators, cpu, ort_quantize, ort_trace, packages, telemetry
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
from backends.onnx_graph import INPUT_NAME, OUTPUT_NAME, quiet, write_onnx

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Here, as whoever resolves this backend may import the runtime before it calls ``load``.
telemetry.silence()

DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")
"""Builds of the runtime that this module knows the providers of; they exclude each other."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

PRECISIONS = ("fp32", "fp16", "int8")


def usable_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def session_settings(options: LoadOptions) -> dict[str, bool]:
    """The session's options with every default explicit.

    ``spinning``: idle threads of the pool wait busily for the next operator. That is fastest on an
    idle machine and ONNX Runtime's own default, but where no CPU is left for anything else, the
    spinning threads starve the one that works (twice the latency was seen). So it is on by default
    where a CPU is left over, off otherwise.
    ``avx2_exact``: u8 x u8 products in place of saturating u8 x s8 ones, slower, on x86 without
    VNNI (``session.x64quantprecision``); default off, as ``reduce_range`` avoids saturation there.
    Raises UnsupportedError for an unknown option or a value that is no truth value.
    """
    settings = {"spinning": 1 < options.threads < usable_cpus(), "avx2_exact": False}
    for name, value in options.options.items():
        if name not in settings:
            raise UnsupportedError(
                f"onnxruntime has no runtime option {name}",
                remedy=f"Its options are {', '.join(settings)}.",
            )
        if not isinstance(value, bool):
            raise UnsupportedError(f"onnxruntime's option {name} is true or false, got {value!r}")
        settings[name] = value
    return settings


class OnnxRuntimeBackend(Backend):
    """Exports through ``torch.onnx`` and runs an ``InferenceSession``."""

    name = "onnxruntime"
    export_packages = ("torch", "ultralytics", "onnx", "onnxruntime", "onnxconverter-common")
    runtime_packages = DISTRIBUTIONS
    runtime_modules = ("onnxruntime",)
    extra = "onnxruntime"

    def probe(self) -> Probe:
        """Told from the installed distribution: its name says which providers it was built with."""
        remedy = "pip install 'deploymark[onnxruntime]'"
        version = packages.installed_version(*DISTRIBUTIONS)
        if version is None or packages.missing(["onnxruntime"]):
            return Probe(self.name, installed=False, reason="not installed", remedy=remedy)
        missing = packages.missing(["torch", "onnx", "onnxconverter_common"])
        return Probe(
            self.name,
            installed=True,
            version=version,
            can_export=not missing,
            services=self._services(),
            reason=f"cannot export without {', '.join(missing)}" if missing else "",
            remedy="pip install 'deploymark[onnxruntime]'" if missing else "",
        )

    def _services(self) -> dict[tuple[str, str], Service]:
        here = cpu.detect()
        half = Service(
            served=True,
            native=here.has_fp16 and not here.is_x86,
            reason=""
            if here.has_fp16 and not here.is_x86
            else "ONNX Runtime computes float16 in float32 on this CPU",
        )
        services = {
            ("cpu", "fp32"): Service(served=True),
            ("cpu", "fp16"): half,
            ("cpu", "bf16"): Service(
                served=False,
                exists=False,
                reason="ONNX Runtime's CPU provider has no bfloat16 convolution",
            ),
            ("cpu", "int8"): Service(served=True),
        }
        if packages.installed_version("onnxruntime-gpu") is None:
            return services
        if accelerators.has_nvidia_gpu():
            gpu = Service(served=True)
        else:
            gpu = Service(served=False, reason="no NVIDIA driver is loaded")
        services |= {("cuda", precision): gpu for precision in ("fp32", "fp16")}
        services["cuda", "int8"] = Service(
            served=False,
            exists=False,
            reason="ONNX Runtime's CUDA provider has no INT8 convolution",
            remedy="Take TensorRT for INT8 on an NVIDIA GPU.",
        )
        return services

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 has options (``ort_quantize.resolve``), other precisions have none."""
        if precision == "int8":
            return ort_quantize.resolve(options)
        return super().resolve_options(precision, options)

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.onnx``; the same request gives the same bytes."""
        if request.precision not in PRECISIONS:
            raise UnsupportedError(f"onnxruntime has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, "model.onnx")
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "fp32.onnx")
            write_onnx(request.model(), source, batch=request.batch, imgsz=request.imgsz)
            try:
                if request.precision == "fp32":
                    shutil.copyfile(source, artifact.path)
                elif request.precision == "fp16":
                    _write_half(source, artifact.path)
                else:
                    images = request.calibration() if request.calibration is not None else ()
                    ort_quantize.quantize(
                        source,
                        artifact.path,
                        Path(folder),
                        ort_quantize.batches(images, request.batch),
                        request.float_nodes,
                        options,
                    )
            except BackendError:
                raise
            except Exception as error:
                raise ExportError(
                    f"ONNX Runtime's {request.precision} conversion failed: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return artifact

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Open the file on one provider; no other one is tried if it fails."""
        settings = session_settings(options)
        if not artifact.path.is_file():
            raise LoadError(f"there is no file {artifact.path}")
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise UnavailableError(
                f"onnxruntime cannot be imported: {error}",
                remedy="pip install 'deploymark[onnxruntime]'",
            ) from error
        provider = PROVIDERS.get(options.device)
        if provider is None or provider not in ort.get_available_providers():
            raise UnavailableError(f"this build of onnxruntime has no device {options.device!r}")
        if options.device == "cuda":
            ort.preload_dlls()
        session_options = _session_options(ort, options.threads, settings)
        try:
            session = ort.InferenceSession(
                str(artifact.path), session_options, providers=[provider]
            )
        except Exception as error:
            raise LoadError(
                f"ONNX Runtime refuses {artifact.path}: {type(error).__name__}: {error}"
            ) from error
        if provider not in session.get_providers():
            raise UnavailableError(
                f"ONNX Runtime could not start {provider}",
                remedy="Install the CUDA and cuDNN versions that this onnxruntime-gpu asks for.",
            )
        found = tuple(session.get_inputs()[0].shape)
        if found != options.input_shape:
            raise LoadError(
                f"{artifact.path} takes images of shape {found}, not {options.input_shape}"
            )
        return OnnxRuntimeSession(session, artifact.path, provider, options, settings)


class OnnxRuntimeSession(Session):
    """An ``InferenceSession`` of one input and one output."""

    def __init__(
        self,
        session: Any,
        path: Path,
        provider: str,
        options: LoadOptions,
        settings: Mapping[str, bool],
    ) -> None:
        super().__init__(options.input_shape)
        self._run = session.run
        self._outputs = [OUTPUT_NAME]
        self._path = path
        self._provider = provider
        self._threads = options.threads
        self._settings = settings

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One run; the input array is read in place, the output array is new."""
        predictions: npt.NDArray[np.float32] = self._run(self._outputs, {INPUT_NAME: images})[0]
        return predictions

    def executed_precision(self) -> ExecutedPrecision:
        """Operators by data type, from the profile of one inference of a session alike this one.

        The profiler cannot be stopped and started, so a second session, opened with the same
        settings and thrown away, is profiled; the one that is measured never is.
        """
        import numpy as np
        import onnxruntime as ort

        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            session_options = _session_options(ort, self._threads, self._settings)
            session_options.enable_profiling = True
            session_options.profile_file_prefix = str(Path(folder, "profile"))
            session = ort.InferenceSession(
                str(self._path), session_options, providers=[self._provider]
            )
            session.run(self._outputs, {INPUT_NAME: np.zeros(self.input_shape, np.float32)})
            events = Path(session.end_profiling()).read_text(encoding="utf-8")
            del session
        return ExecutedPrecision(ort_trace.layers(events), source="profile of the optimised graph")


def _session_options(ort: Any, threads: int, settings: Mapping[str, bool]) -> Any:
    """``SessionOptions`` with everything that decides speed spelled out."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    spinning = "1" if settings["spinning"] else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    exact = "1" if settings["avx2_exact"] else "0"
    options.add_session_config_entry("session.x64quantprecision", exact)
    return options


def _write_half(source: Path, target: Path) -> None:
    """Convert weights and operators to float16; the input and the output stay float32."""
    import onnx
    from onnxconverter_common import float16

    with quiet("onnxconverter_common"):
        onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
