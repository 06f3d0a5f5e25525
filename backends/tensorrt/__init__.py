"""TensorRT: FP32, FP16, BF16 and INT8 engines on NVIDIA GPUs and on a Jetson's DLA.

Written for TensorRT 10.x and 11.x with strongly typed networks only: the precision is in the ONNX
file (``tensorrt_graph``), which is made and checked without a GPU. Building an engine and running
it need one; those halves (here and in ``tensorrt_engine``) are checked against NVIDIA's bindings,
name by name and type by type, and were not run where Deploymark is tested.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, foreign, loading, packages, telemetry
from deploymark.backends.ends import chosen, require_extras
from deploymark.backends.hardware import accelerators, cuda_memory
from deploymark.backends.one_array import require_one_array
from deploymark.backends.tensorrt import engine as tensorrt_engine
from deploymark.backends.tensorrt import graph as tensorrt_graph
from deploymark.backends.tensorrt import profile as tensorrt_profile
from deploymark.backends.tensorrt import trace as tensorrt_trace

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorrt as trt

# INT8's Q/DQ pairs are placed by ONNX Runtime's quantizer.
telemetry.silence()

DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
"""Names of NVIDIA's packages; on a Jetson the first is the system's own."""

DLA_DEVICES = "dev/nvhost-*nvdla*"
"""The device files of a Jetson's deep learning accelerators."""

RUNTIME_OPTIONS: dict[str, tuple[base.Setting, ...]] = {"dla_core": (0, 1)}
"""Runtime options and their values; ``dla_core`` has no effect on an engine for the GPU."""


class TensorRtBackend(base.Backend):
    """Builds engines through TensorRT's ONNX parser, and runs an execution context."""

    name = "tensorrt"
    default_device = "cuda"
    export_packages = ("torch", "ultralytics", "onnx", "onnxruntime", *DISTRIBUTIONS)
    runtime_packages = DISTRIBUTIONS
    runtime_modules = ("tensorrt",)
    extra = "tensorrt"
    runtime_options = RUNTIME_OPTIONS
    artifact_endings = (".engine", ".plan", ".trt")

    def probe(self) -> base.Probe:
        """Bindings alone, a wheel of their own, are not TensorRT: its libraries are missing."""
        if packages.missing(["tensorrt"]):
            bindings = not packages.missing(["tensorrt_bindings"])
            reason = (
                "only TensorRT's bindings are installed, not its libraries"
                if bindings
                else "not installed"
            )
            return base.Probe(
                self.name, installed=False, reason=reason, remedy=tensorrt_engine.REMEDY
            )
        missing = packages.missing(["torch", "onnx", "onnxruntime"])
        return base.Probe.present(
            self.name,
            packages.installed_version(*DISTRIBUTIONS),
            services(),
            missing=missing,
            remedy="pip install 'deploymark[tensorrt]'",
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``tensorrt_graph``. ``gpu`` is this machine's, as engines are made for one model."""
        given = dict(options)
        gpu = given.pop("gpu", None) or tensorrt_engine.gpu_model()
        return {**tensorrt_graph.resolve(precision, given), "gpu": gpu}

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.engine``, made for the GPU of this machine and this TensorRT."""
        if request.precision not in tensorrt_graph.PRECISIONS:
            raise base.UnsupportedError(f"tensorrt has no {request.precision}")
        if request.device == "dla" and request.precision not in DLA_PRECISIONS:
            raise base.UnsupportedError(DLA_REASON)
        options = self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        tensorrt_engine.require()
        if not accelerators.has_nvidia_gpu():
            raise base.UnavailableError(
                "an engine is built on the GPU that it is for, and no NVIDIA driver is loaded",
                remedy="Export on the machine that is to be measured.",
            )
        artifact = base.Artifact(request.folder, "model.engine")
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            source = Path(folder, "typed.onnx")
            tensorrt_graph.write(request, source, Path(folder), options)
            plan = tensorrt_engine.build(source, request.device, options)
        artifact.path.write_bytes(plan)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """Facts of an engine, such as Ultralytics', which only TensorRT can open."""
        plan, metadata = tensorrt_engine.read_plan(path)
        opened = tensorrt_engine.open_plan(plan, path)
        return foreign.facts(
            base.Artifact(path.parent, path.name),
            [path],
            [opened.end(opened.input_name)],
            [opened.end(name) for name in opened.output_names],
            metadata,
            told=told,
        )

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the engine with buffers of one batch. It runs on the GPU it was built for only."""
        dla_core = int(self.resolve_runtime_options(options)["dla_core"])
        plan, _ = tensorrt_engine.read_plan(artifact.path)
        tensorrt_engine.require()
        cuda = cuda_memory.Cuda()
        free_bytes = cuda.free_bytes()
        require_extras(artifact.path, (), options.spec)
        opened = tensorrt_engine.open_plan(plan, artifact.path, dla_core)
        found = opened.shape(opened.input_name)
        loading.require_shape(artifact.path, found, options)
        return TensorRtSession(cuda, free_bytes, opened, artifact.path, options)


class TensorRtSession(base.Session):
    """An execution context, a buffer for each input and output, and one stream.

    Engines of several outputs (EfficientNMS) follow the bindings' documentation and were not run.

    ``free_bytes`` was free on the GPU before the engine was opened.
    """

    def __init__(
        self,
        cuda: cuda_memory.Cuda,
        free_bytes: int,
        opened: tensorrt_engine.OpenedEngine,
        path: Path,
        options: base.LoadOptions,
    ) -> None:
        super().__init__(options.input_shape)
        self._cuda, self._opened = cuda, opened
        self._context: trt.IExecutionContext = opened.engine.create_execution_context()
        if self._context is None:
            raise base.LoadError(f"TensorRT gives {path} no context: {opened.log.said()}")
        if not self._context.set_input_shape(opened.input_name, options.input_shape):
            raise base.LoadError(f"{path} takes images of other shapes than {options.input_shape}")
        self._stream = cuda.stream()
        self._hosts: list[npt.NDArray[Any]] = []
        self._devices: list[int] = []
        order = chosen(path, opened.output_names, options.output)
        for name in (opened.input_name, *opened.output_names):
            shape = tuple(self._context.get_tensor_shape(name))
            host = cuda.pinned(shape, opened.dtype(name))
            address = cuda.allocate(host.nbytes)
            self._context.set_tensor_address(name, address)
            self._hosts.append(host)
            self._devices.append(address)
        self._order = order
        self._taken_bytes = max(free_bytes - cuda.free_bytes(), 0)

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One inference, the copies to the GPU and back among it; 16-bit ends are converted."""
        import numpy as np

        given, *predicted = self._hosts
        np.copyto(given, images, casting="same_kind")
        self._cuda.upload(given, self._devices[0], self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise base.LoadError(f"TensorRT could not run the engine: {self._opened.log.said()}")
        for address, host in zip(self._devices[1:], predicted, strict=True):
            self._cuda.download(address, host, self._stream)
        self._cuda.wait(self._stream)
        found = tuple(base.widened(predicted[index]) for index in self._order)
        predictions: base.Outputs = found[0] if len(found) == 1 else found
        return predictions

    def _information(self) -> str:
        """What the engine's inspector tells of its layers, as JSON."""
        import tensorrt as trt

        inspector = self._opened.engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def profile(
        self, images: Sequence[npt.NDArray[Any]], *, warmup: int, inferences: int
    ) -> base.Profile:
        """What each layer took, by TensorRT's own profiler."""
        return tensorrt_profile.profile(
            self._context,
            lambda index: self.infer_impl(images[index % len(images)]),
            self._information(),
            warmup=warmup,
            inferences=inferences,
        )

    def executed_precision(self) -> base.ExecutedPrecision:
        """Layers by data type, from the engine's inspector."""
        layers = tensorrt_trace.layers(self._information())
        if not layers:
            return base.ExecutedPrecision(
                reason="this engine was built without the details that its inspector would tell"
            )
        return base.ExecutedPrecision(layers, source="engine inspector")

    def device_memory_bytes(self) -> int | None:
        """What loading took of the GPU's free memory; another process may have taken part of it."""
        return self._taken_bytes


DLA_PRECISIONS = ("fp16", "int8", "int8-qat")
DLA_REASON = "a DLA computes in float16 and INT8 only"


def services(root: Path = Path("/")) -> dict[tuple[str, str], base.Service]:
    """What is served on the GPU, and on a DLA where the system shows one.

    ``root`` is the file system's root.
    """
    here = (
        base.Service(served=True)
        if accelerators.has_nvidia_gpu(root)
        else base.Service(served=False, reason="no NVIDIA driver is loaded")
    )
    found = {("cuda", precision): here for precision in tensorrt_graph.PRECISIONS}
    if any(root.glob(DLA_DEVICES)):
        found |= {("dla", precision): here for precision in DLA_PRECISIONS}
        none = base.Service.never(DLA_REASON)
        found |= {
            ("dla", precision): none
            for precision in tensorrt_graph.PRECISIONS
            if precision not in DLA_PRECISIONS
        }
    return found
