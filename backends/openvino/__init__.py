"""OpenVINO: IR files in FP32, FP16, trained and NNCF's INT8 on its CPU, GPU, NPU, AUTO plugins.

Runs IR and ONNX files that were made elsewhere, too. The GPU and NPU plugins have not been run
where this was written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, loading, packages, telemetry
from deploymark.backends.ends import End, chosen, image_of
from deploymark.backends.onnx import qdq
from deploymark.backends.onnx.graph import onnx_file
from deploymark.backends.openvino import files as ov_files
from deploymark.backends.openvino import profile as ov_profile
from deploymark.backends.openvino import quantize as ov_quantize
from deploymark.backends.openvino import settings as ov_settings

if TYPE_CHECKING:
    import numpy.typing as npt

# Here, as whoever resolves this backend may import the runtime before it calls ``load``.
telemetry.silence()

REMEDY = "pip install 'deploymark[openvino]'"

NOT_EXECUTED = frozenset({"Const", "Input", "Output"})
"""Layer types of a runtime model that stand for data, not for work."""


LOADER = """\
import openvino as ov

core, device = ov.Core(), "$device".upper()
hint = {"bf16": "bf16", "fp16": "f16"}.get("$precision", "f32")
if hint == "f16" and "FP16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
    hint = "f32"
config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
if device == "CPU":
    config["INFERENCE_NUM_THREADS"] = $threads
model = core.compile_model(str(Path(__file__).with_name("$entry")), device, config)
image = next(one for one in model.inputs if not one.names & EXTRA.keys())


def infer(images):
    given = images[0] if len(image.partial_shape) == 3 else images
    found = model({image: given, **EXTRA})
    arrays = [found[key] for key in OUTPUTS]
    return arrays if len(arrays) > 1 else arrays[0]
"""


class OpenVinoBackend(base.Backend):
    """Exports by way of ONNX and runs a compiled model with one infer request."""

    name = "openvino"
    export_packages = ("torch", "ultralytics", "onnx", "openvino", "nncf")
    runtime_packages = ("openvino",)
    runtime_modules = ("openvino",)
    extra = "openvino"
    loader = LOADER
    runtime_options = ov_settings.RUNTIME_OPTIONS
    artifact_endings = (".xml", "_openvino_model", ".onnx")

    def probe(self) -> base.Probe:
        """The CPU is always served; a GPU or NPU is where the system shows its driver."""
        version = packages.installed_version("openvino")
        if version is None or packages.missing(["openvino"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "onnx", "nncf"])
        return base.Probe.present(
            self.name,
            version,
            ov_settings.services(),
            missing=missing,
            remedy=REMEDY,
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 has options (``ov_quantize``), other precisions have none."""
        if precision != "int8":
            return super().resolve_options(precision, options)
        return ov_quantize.resolve(options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.xml`` and ``model.bin``.

        FP32, BF16 and INT8 files keep float weights in float32 (BF16 is the plugin's doing at load
        time); FP16 files store them in float16.
        """
        if request.precision not in ov_settings.PRECISION_HINTS:
            raise base.UnsupportedError(f"openvino has no {request.precision}")
        options = self.resolve_options(request.precision, request.options)
        artifact = base.Artifact(request.folder, "model.xml")
        notes: tuple[str, ...] = ()
        what = f"OpenVINO's {request.precision} conversion"
        with onnx_file(request) as source, exporting.failures(what):
            import openvino as ov

            if request.precision == base.QAT_PRECISION:
                qdq.for_openvino(source, source)
            with exporting.quiet("nncf", "openvino"):
                model = ov.convert_model(source)
                if request.precision == "int8":
                    model, notes = ov_quantize.quantize(model, request, options)
                ov.save_model(model, artifact.path, compress_to_fp16=request.precision == "fp16")
        return dataclasses.replace(artifact, notes=notes)

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """What an ``.xml``, a folder with one, or an ``.onnx`` file says of itself."""
        return ov_files.facts(loading.runtime("openvino", REMEDY).Core(), path, told)

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Compile the model for one device, one stream, ``options.threads`` threads."""
        settings = self.resolve_runtime_options(options)
        ov_files.files_of(artifact.path)
        core = loading.runtime("openvino", REMEDY).Core()
        model = ov_files.read(core, artifact.path)
        model = ov_files.fix(model, artifact.path, options.input_shape, options.spec)
        plugin = options.device.upper()
        plugins = list(dict.fromkeys(name.partition(".")[0] for name in core.available_devices))
        if plugin not in {*plugins, "AUTO"}:
            raise base.UnavailableError(
                f"OpenVINO finds no device {options.device!r} here (it finds {', '.join(plugins)})",
                remedy=ov_settings.services()
                .get((options.device, options.precision), base.Service(served=False))
                .remedy,
            )
        capabilities = {
            name: core.get_property(name, "OPTIMIZATION_CAPABILITIES") for name in plugins
        }
        properties = ov_settings.properties(options, plugin, capabilities, settings)

        def compile_model(**more: Any) -> Any:
            """The model of these settings, and of ``more`` properties."""
            return core.compile_model(model, plugin, {**properties, **more})

        try:
            compiled = compile_model()
        except Exception as error:
            said = ov_files.first_line(error)
            message = f"OpenVINO cannot compile {artifact.path} for {plugin}: {said}"
            if plugin in {"CPU", "AUTO"}:
                raise base.LoadError(message) from error
            raise base.UnavailableError(message) from error
        inputs, outputs = ov_files.ends(model)
        image = inputs.index(image_of(artifact.path, inputs))
        order = chosen(artifact.path, [end.name for end in outputs], options.output)
        return OpenVinoSession(compiled, compile_model, options, plugin, image, inputs, order)


class OpenVinoSession(base.Session):
    """A compiled model and its one infer request.

    ``image`` is the place of the images among the inputs, ``order`` are those of the contract's
    arrays among the outputs.
    """

    def __init__(
        self,
        compiled: Any,
        compile_model: Callable[..., Any],
        options: base.LoadOptions,
        plugin: str,
        image: int,
        inputs: Sequence[End],
        order: Sequence[int],
    ) -> None:
        super().__init__(options.input_shape, options.spec)
        self._plugin = plugin
        self._compiled = compiled
        self._compile_model = compile_model
        self._image = image
        self._one_image = len(inputs[image].shape) == 3  # noqa: PLR2004 - no batch
        self._given = {
            index: self.extra[end.name] for index, end in enumerate(inputs) if index != image
        }
        self._request = compiled.create_infer_request()
        self._order = order
        # Arrays of fixed shapes are where they were; boxes of any number are not.
        fixed = all(compiled.output(index).get_partial_shape().is_static for index in order)
        self._outputs = self._found() if fixed else None

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One synchronous inference; the input is read in place, the outputs are reused."""
        self._run(self._request, images)
        return self._found() if self._outputs is None else self._outputs

    def _run(self, request: Any, images: npt.NDArray[Any]) -> None:
        given = images[0] if self._one_image else images
        request.infer({self._image: given, **self._given}, share_inputs=True, share_outputs=True)

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each layer took, from the counters of models that are compiled to count."""
        each = -(-inferences // ov_profile.SESSIONS)
        samples = [
            ov_profile.sample(
                self._compile_model(PERF_COUNT=True),
                self._plugin,
                lambda request, index: self._run(request, images[index % len(images)]),
                warmup=warmup,
                inferences=each,
            )
            for _ in range(ov_profile.SESSIONS)
        ]
        source = f"OpenVINO's performance counters, means of {each} in {len(samples)} sessions"
        return base.Profile(tuple(samples), source=source)

    def _found(self) -> base.Outputs:
        """The outputs' arrays, which are views of the request's memory."""
        found = tuple(self._request.get_output_tensor(index).data for index in self._order)
        predictions: base.Outputs = found[0] if len(found) == 1 else found
        return predictions

    def settings(self) -> Mapping[str, base.Setting]:
        """The compiled model's properties."""
        return ov_settings.told(self._compiled)

    def executed_precision(self) -> base.ExecutedPrecision:
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
            return base.ExecutedPrecision(reason="this OpenVINO plugin does not report its layers")
        source = "runtime model"
        if self._plugin == "AUTO":
            chosen = ", ".join(self._compiled.get_property("EXECUTION_DEVICES"))
            source += f" of {chosen}, which AUTO chose"
        return base.ExecutedPrecision(dict(sorted(counts.items())), source=source)
