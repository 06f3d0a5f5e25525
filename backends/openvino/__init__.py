"""OpenVINO: IR files in FP32, FP16, trained and NNCF's INT8 on its CPU, GPU, NPU, AUTO plugins.

Runs IR and ONNX files that were made elsewhere, too. The GPU and NPU plugins have not been run
where this was written.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import packages, telemetry
from deploymark.backends.base import (
    QAT_PRECISION,
    Artifact,
    ArtifactFacts,
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
    Setting,
    UnavailableError,
    UnsupportedError,
)
from deploymark.backends.onnx import qdq
from deploymark.backends.onnx.graph import quiet, write_onnx
from deploymark.backends.openvino import (
    files as ov_files,
)
from deploymark.backends.openvino import (
    quantize as ov_quantize,
)
from deploymark.backends.openvino import (
    settings as ov_settings,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Here, as whoever resolves this backend may import the runtime before it calls ``load``.
telemetry.silence()

NOT_EXECUTED = frozenset({"Const", "Input", "Output"})
"""Layer types of a runtime model that stand for data, not for work."""


class OpenVinoBackend(Backend):
    """Exports by way of ONNX and runs a compiled model with one infer request."""

    name = "openvino"
    export_packages = ("torch", "ultralytics", "onnx", "openvino", "nncf")
    runtime_packages = ("openvino",)
    runtime_modules = ("openvino",)
    extra = "openvino"
    runtime_options = ov_settings.RUNTIME_OPTIONS
    artifact_endings = (".xml", "_openvino_model", ".onnx")

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
            services=ov_settings.services(),
            reason=f"cannot export without {', '.join(missing)}" if missing else "",
            remedy="pip install 'deploymark[openvino]'" if missing else "",
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 has options (``ov_quantize``), other precisions have none."""
        if precision != "int8":
            return super().resolve_options(precision, options)
        return ov_quantize.resolve(options)

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.xml`` and ``model.bin``.

        FP32, BF16 and INT8 files keep float weights in float32 (BF16 is the plugin's doing at load
        time); FP16 files store them in float16.
        """
        if request.precision not in ov_settings.PRECISION_HINTS:
            raise UnsupportedError(f"openvino has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, "model.xml")
        notes: tuple[str, ...] = ()
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "fp32.onnx")
            write_onnx(request.model(), source, batch=request.batch, imgsz=request.imgsz)
            try:
                import openvino as ov

                if request.precision == QAT_PRECISION:
                    qdq.for_openvino(source, source)
                with quiet("nncf", "openvino"):
                    model = ov.convert_model(source)
                    if request.precision == "int8":
                        model, notes = ov_quantize.quantize(model, request, options)
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
        return dataclasses.replace(artifact, notes=notes)

    def describe(self, path: Path) -> ArtifactFacts:
        """What an ``.xml``, a folder with one, or an ``.onnx`` file says of itself."""
        return ov_files.facts(_import_runtime().Core(), path)

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Compile the model for one device, one stream, ``options.threads`` threads."""
        settings = self.resolve_runtime_options(options)
        ov_files.files_of(artifact.path)
        core = _import_runtime().Core()
        model = ov_files.read(core, artifact.path)
        model = ov_files.fix(model, artifact.path, options.input_shape)
        plugin = options.device.upper()
        plugins = list(dict.fromkeys(name.partition(".")[0] for name in core.available_devices))
        if plugin not in {*plugins, "AUTO"}:
            raise UnavailableError(
                f"OpenVINO finds no device {options.device!r} here (it finds {', '.join(plugins)})",
                remedy=ov_settings.services()
                .get((options.device, options.precision), Service(served=False))
                .remedy,
            )
        capabilities = {
            name: core.get_property(name, "OPTIMIZATION_CAPABILITIES") for name in plugins
        }
        properties = ov_settings.properties(options, plugin, capabilities, settings)
        try:
            compiled = core.compile_model(model, plugin, properties)
        except Exception as error:
            said = ov_files.first_line(error)
            message = f"OpenVINO cannot compile {artifact.path} for {plugin}: {said}"
            if plugin in {"CPU", "AUTO"}:
                raise LoadError(message) from error
            raise UnavailableError(message) from error
        return OpenVinoSession(compiled, options.input_shape, plugin)


class OpenVinoSession(Session):
    """A compiled model and its one infer request."""

    def __init__(self, compiled: Any, input_shape: tuple[int, int, int, int], plugin: str) -> None:
        super().__init__(input_shape)
        self._plugin = plugin
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._output = self._request.get_output_tensor(0).data

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One synchronous inference; the input is read in place, the output is reused."""
        self._request.infer({0: images}, share_inputs=True, share_outputs=True)
        predictions: npt.NDArray[np.float32] = self._output
        return predictions

    def settings(self) -> Mapping[str, Setting]:
        """The compiled model's properties."""
        return ov_settings.told(self._compiled)

    def executed_precision(self) -> ExecutedPrecision:
        """Layers by data type, from the runtime model that the plugin made."""
        counts: dict[str, int] = {}
        for node in self._compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" not in info or "runtimePrecision" not in info:
                continue
            layer = info["layerType"].astype(str)
            precision = info["runtimePrecision"].astype(str)
            kernel = info["primitiveType"].astype(str) if "primitiveType" in info else ""
            if layer in NOT_EXECUTED:
                continue
            key = f"{layer}:{ov_settings.executed_type(precision, kernel)}"
            counts[key] = counts.get(key, 0) + 1
        if not counts:
            return ExecutedPrecision(reason="this OpenVINO plugin does not report its layers")
        source = "runtime model"
        if self._plugin == "AUTO":
            chosen = ", ".join(self._compiled.get_property("EXECUTION_DEVICES"))
            source += f" of {chosen}, which AUTO chose"
        return ExecutedPrecision(dict(sorted(counts.items())), source=source)


def _import_runtime() -> Any:
    try:
        import openvino as ov
    except ImportError as error:
        raise UnavailableError(
            f"openvino cannot be imported: {error}",
            remedy="pip install 'deploymark[openvino]'",
        ) from error
    return ov
