"""TensorRT engines: building one from a typed ONNX file, and reading its file.

Written against the bindings of TensorRT 10.x and 11.x, whose names and signatures a test compares
it with; no engine was built or run where Deploymark is tested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deploymark.backends import foreign
from deploymark.backends.base import ExportError, LoadError, UnavailableError
from deploymark.backends.ends import End, sizes
from deploymark.backends.loading import require_file
from deploymark.backends.recognise import Metadata

if TYPE_CHECKING:
    import numpy as np
    import tensorrt as trt

Started = TypeVar("Started")

REMEDY = (
    "pip install tensorrt, or name the interpreter of the system's own package "
    "(python: /usr/bin/python3)"
)

HEADER_LENGTH_BYTES = 4
"""Ultralytics writes the length of its JSON metadata before it, little-endian, and the engine
after it (``ultralytics/utils/export/engine.py``)."""

GPU_MODELS = "proc/driver/nvidia/gpus/*/information"
"""Where NVIDIA's driver names the GPUs, one file each, on desktops and servers."""

JETSON_MODEL = "proc/device-tree/model"


def gpu_model(root: Path = Path("/")) -> str:
    """The first GPU's name, or the Jetson's; empty where the system tells neither.

    An engine is made for one model of GPU, so this is part of what an artifact is made from. Told
    from files, as asking the driver would start it in processes that measure nothing.
    """
    for file in sorted(root.glob(GPU_MODELS)):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                return value.strip()
    try:
        text = (root / JETSON_MODEL).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.strip("\0 \n") if "jetson" in text.lower() or "nvidia" in text.lower() else ""


def read_plan(path: Path) -> tuple[bytes, Metadata]:
    """The serialized engine of a file and what Ultralytics' exporter noted before it.

    Raises LoadError where there is no file, or nothing in it.
    """
    require_file(path)
    data = path.read_bytes()
    start = HEADER_LENGTH_BYTES
    end = start + int.from_bytes(data[:start], "little")
    metadata = Metadata()
    if start < end <= len(data) and data[start : start + 1] == b"{":
        metadata = foreign.metadata_from_json(data[start:end].decode(errors="replace"))
        if metadata != Metadata():
            data = data[end:]
    if not data:
        raise LoadError(f"{path} holds no engine")
    return data, metadata


def require() -> None:
    """Load TensorRT's libraries. Raises UnavailableError where they, or its bindings, are not."""
    try:
        import tensorrt  # noqa: F401
    except (ImportError, OSError) as error:
        raise UnavailableError(f"tensorrt cannot be imported: {error}", remedy=REMEDY) from error


@dataclasses.dataclass(frozen=True)
class OpenedEngine:
    """An engine of one input, and what must live as long as it does."""

    log: Any
    runtime: trt.Runtime
    engine: trt.ICudaEngine
    input_name: str
    output_names: tuple[str, ...]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the input or an output, -1 for a size that is left open."""
        return tuple(self.engine.get_tensor_shape(name))

    def dtype(self, name: str) -> type[np.generic]:
        """The type of the input or an output: floating numbers, or whole ones of an output."""
        import numpy as np
        import tensorrt as trt

        found = self.engine.get_tensor_dtype(name)
        types: dict[Any, type[np.generic]] = {
            trt.DataType.FLOAT: np.float32,
            trt.DataType.HALF: np.float16,
        }
        if name != self.input_name:
            types |= {trt.DataType.INT32: np.int32, trt.DataType.INT64: np.int64}
        if found in types:
            return types[found]
        raise LoadError(f"{name} is {found}, Deploymark reads float32 and float16")

    def end(self, name: str) -> End:
        """The input or an output, as every format tells them."""
        import numpy as np

        return End(name, sizes(self.shape(name)), np.dtype(self.dtype(name)).name)


def open_plan(plan: bytes, path: Path, dla_core: int = 0) -> OpenedEngine:
    """Deserialize an engine; ``path`` is where it came from.

    Raises LoadError where TensorRT refuses it or it takes more than images,
    UnavailableError where TensorRT itself does not start.
    """
    require()
    import tensorrt as trt

    log = logger()
    runtime = _started("runtime", trt.Runtime, log)
    if dla_core:
        runtime.DLA_core = dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise LoadError(
            f"TensorRT refuses {path}: {log.said()}",
            remedy="An engine runs on the GPU model and the TensorRT version that built it.",
        )
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    if len(inputs) != 1 or not outputs:
        raise LoadError(
            f"{path} has the inputs {', '.join(inputs)} and {len(outputs)} outputs, and an engine "
            "is given images alone here"
        )
    return OpenedEngine(log, runtime, engine, inputs[0], tuple(outputs))


def logger() -> Any:
    """A ``trt.ILogger`` that keeps errors, newest last, in ``errors``, and prints nothing."""
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        """TensorRT calls ``log`` from its own threads; it must outlive what it was given to."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            """Keep what went wrong."""
            if severity in {trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR}:
                self.errors.append(msg.strip())

        def said(self) -> str:
            """The last errors in one line."""
            return "; ".join(self.errors[-3:]) or "it gave no reason"

    return Log()


def _started(what: str, factory: Callable[[Any], Started], log: Any) -> Started:
    """TensorRT's runtime or builder. Raises UnavailableError where its factory gives none."""
    try:
        return factory(log)
    except TypeError as error:
        raise UnavailableError(
            f"TensorRT starts no {what}: {log.said()}", remedy="Check the driver with nvidia-smi."
        ) from error


def build(source: Path, device: str, options: Mapping[str, Any]) -> bytes:
    """A serialized engine for this machine's GPU, from an ONNX file of fixed shapes.

    ``options`` as ``tensorrt_graph.resolve`` gives them. Raises ExportError, and UnavailableError
    where the device is ``dla`` and there is none.
    """
    require()
    import tensorrt as trt

    log = logger()
    builder = _started("builder", trt.Builder, log)
    # From 11 on every network is strongly typed, and the flag is ignored.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(source)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        told = "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors[:3])
        raise ExportError(f"TensorRT's parser refuses the ONNX file: {told or log.said()}")
    config = builder.create_builder_config()
    _configure(builder, config, device, options)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT builds no engine: {log.said()}")
    return bytes(plan)


def _configure(
    builder: trt.Builder, config: trt.IBuilderConfig, device: str, options: Mapping[str, Any]
) -> None:
    """Set everything that decides speed and precision."""
    import tensorrt as trt

    # Otherwise the inspector tells names of layers, and no types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options["optimization_level"]
    if options["workspace_mib"]:
        size_bytes = options["workspace_mib"] << 20
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size_bytes)
    flags = {trt.BuilderFlag.TF32: "tf32", trt.BuilderFlag.SPARSE_WEIGHTS: "sparsity"}
    for flag, option in flags.items():
        if options[option]:
            config.set_flag(flag)
        else:
            config.clear_flag(flag)
    if device == "dla":
        if builder.num_DLA_cores <= options["dla_core"]:
            raise UnavailableError(
                f"TensorRT finds {builder.num_DLA_cores} DLA cores here",
                remedy="TensorRT 11 has DLA on few platforms; JetPack's TensorRT 10 has it.",
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options["dla_core"]
        # Layers that the DLA cannot run, run on the GPU; the inspector tells which.
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
