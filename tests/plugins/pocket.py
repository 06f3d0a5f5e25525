"""A backend in one file: FP32 ONNX files, run by ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploymark.backends import base, loading, packages, telemetry
from deploymark.backends.onnx.graph import write_onnx
from deploymark.backends.options import resolve_choices

telemetry.silence()  # ONNX Runtime calls home unless told otherwise before it is imported

REMEDY = "pip install onnx onnxruntime"


class PocketBackend(base.Backend):
    """Exports with the step that all who start from ONNX share, and runs a session."""

    name = "pocket"
    export_packages = ("torch", "ultralytics", "onnx")
    runtime_packages = ("onnxruntime",)
    runtime_modules = ("onnxruntime",)
    runtime_options: Mapping[str, tuple[base.Setting, ...]] = {"fuse": (True, False)}

    def probe(self) -> base.Probe:
        """Told from what is installed, without importing it. What is not named does not exist."""
        version = packages.installed_version("onnxruntime")
        if version is None:
            return base.Probe.absent(self.name, REMEDY)
        services = {("cpu", "fp32"): base.Service(served=True)}
        missing = packages.missing(["torch", "onnx"])
        return base.Probe.present(self.name, version, services, missing=missing, remedy=REMEDY)

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """``opset`` of the file: part of the artifact's key, so a default is made explicit."""
        return resolve_choices(self.name, {"opset": (17, 16)}, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.onnx``. Runs in the build child, which has torch."""
        if request.precision != "fp32":
            raise base.UnsupportedError(f"pocket has no {request.precision}")
        opset = self.resolve_options(request.precision, request.options)["opset"]
        artifact = base.Artifact(request.folder, "model.onnx")
        size = {"batch": request.batch, "imgsz": request.imgsz}
        write_onnx(request.model(), artifact.path, **size, opset=opset)
        return artifact

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the file. Runs in the worker, which has the runtime and numpy."""
        chosen = self.resolve_runtime_options(options)
        loading.require_file(artifact.path)
        loading.require_cpu(self.name, options)
        ort = loading.runtime("onnxruntime", REMEDY)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        level = "ORT_ENABLE_ALL" if chosen["fuse"] else "ORT_ENABLE_BASIC"
        settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        try:
            session = ort.InferenceSession(artifact.path, settings)
        except Exception as error:
            raise base.LoadError(f"ONNX Runtime refuses {artifact.path}: {error}") from error
        loading.require_shape(artifact.path, session.get_inputs()[0].shape, options)
        return PocketSession(session, options.input_shape)


class PocketSession(base.Session):
    """What is timed. ``infer`` has checked shape and type before."""

    def __init__(self, session: Any, input_shape: tuple[int, int, int, int]) -> None:
        super().__init__(input_shape)
        self._run, self._input = session.run, session.get_inputs()[0].name

    def infer_impl(self, images: Any) -> Any:
        """Float32 in and out, (batch, 3, height, width) to what the detector's head gives."""
        return self._run(None, {self._input: images})[0]

    def executed_precision(self) -> base.ExecutedPrecision:
        """What ran, read from the runtime; a backend that cannot tell says so."""
        return base.ExecutedPrecision(reason="pocket does not read ONNX Runtime's profile")
