"""ExecuTorch, the successor of PyTorch Mobile: ``.pte`` programs on the XNNPACK delegate."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, loading, packages
from deploymark.backends.ends import unnamed
from deploymark.backends.executorch import lower as executorch_lower
from deploymark.backends.executorch import trace as executorch_trace
from deploymark.backends.foreign import METADATA_FILE, facts, metadata_beside, the_file
from deploymark.backends.one_array import require_one_array
from deploymark.backends.onnxruntime.quantize import batches
from deploymark.backends.options import resolve_choices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PRECISIONS = ("fp32", "int8")

METHOD = "forward"
"""The method of a program that is run; torch modules are exported under this name."""

INT8_DYNAMIC_REASON = (
    "ExecuTorch exports a detector of dynamic INT8 to XNNPACK, and then fails when it runs it"
)

IDENTIFIER = b"ET12"
"""File identifier of a program, at byte 4 (``schema/program.fbs``)."""

EXTENDED_HEADER = b"eh00"
"""Magic of the header at byte 8 that holds the sizes of program and segments
(``schema/extended_header.h``)."""

HEAD_BYTES = 64

INPUT_TYPES = {5: "float16", 6: "float32"}
"""NumPy's names of ExecuTorch's scalar types that images can be given in (``scalar_type.h``)."""

ERRORS = {
    "0x12": "invalid argument",
    "0x14": "this build has no kernel of an operator",
    "0x20": "this build lacks a delegate or method of it",
    "0x21": "out of memory",
    "0x22": "cannot be read",
    "0x23": "invalid program",
    "0x24": "data outside of the file",
    "0x30": "the delegate takes no such program",
    "0x31": "the delegate is out of memory",
}
"""Codes that the runtime raises with (``runtime/core/error.h``)."""

REMEDY = "pip install 'deploymark[executorch]'"


LOADER = """\
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

portable_lib._unsafe_reset_threadpool($threads)
forward = Runtime.get().load_program(Path(__file__).with_name("$entry")).load_method("forward")


def infer(images):
    return forward.execute((torch.from_numpy(images),))[0].numpy()
"""


class ExecuTorchBackend(base.Backend):
    """Exports with ``torch.export`` and runs one method of a program."""

    name = "executorch"
    export_packages = ("torch", "ultralytics", "executorch", "torchao")
    runtime_packages = ("executorch", "torch")
    # The binding takes and gives torch's tensors. ``executorch.runtime`` and ``portable_lib`` load
    # the whole exporter besides, for one class of warnings.
    runtime_modules = ("torch", "executorch.extension.pybindings._C")
    extra = "executorch"
    loader = LOADER
    runtime_options = base.NO_OPTIONS
    artifact_endings = (".pte", "_executorch_model")

    def probe(self) -> base.Probe:
        """The CPU alone: other delegates compile programs of their own."""
        version = packages.installed_version("executorch")
        if version is None or packages.missing(["executorch", "torch"]):
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torchao"])
        services = {("cpu", precision): base.Service(served=True) for precision in PRECISIONS}
        services["cpu", "int8-dynamic"] = base.Service.never(INT8_DYNAMIC_REASON, "Take int8.")
        return base.Probe.present(self.name, version, services, missing=missing, remedy=REMEDY)

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """INT8 takes ``executorch_lower.INT8_OPTIONS``; other precisions have no options."""
        if precision != "int8":
            return super().resolve_options(precision, options)
        return resolve_choices(self.name, executorch_lower.INT8_OPTIONS, options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.pte``."""
        if request.precision not in PRECISIONS:
            dynamic = request.precision == "int8-dynamic"
            raise base.UnsupportedError(
                INT8_DYNAMIC_REASON if dynamic else f"executorch has no {request.precision}"
            )
        options = self.resolve_options(request.precision, request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.pte")
        is_int8 = request.precision == "int8"
        arrays = []
        if is_int8:
            images = request.calibration() if request.calibration is not None else ()
            arrays = batches(images, request.batch)
        with exporting.failures(f"ExecuTorch's {request.precision} export"):
            import torch

            with torch.no_grad(), exporting.quiet("torch", "torchao", "executorch"):
                model = request.model()
                example = torch.zeros(request.input_shape)
                exporting.forward_once(model, example)
                program = executorch_lower.program(
                    model, example, options if is_int8 else None, arrays, request.float_nodes
                )
        artifact.path.write_bytes(program)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """A ``.pte`` file, or the folder that Ultralytics puts it and ``metadata.yaml`` in."""
        file = the_file(path, "*.pte")
        meta = _open(_runtime(), file).method_meta(METHOD)
        beside = file.parent / METADATA_FILE
        found = facts(
            base.Artifact(file.parent, file.name),
            [file, beside] if beside.is_file() else [file],
            unnamed([meta.input_tensor_meta(0).sizes()]),
            unnamed(meta.output_tensor_meta(index).sizes() for index in range(meta.num_outputs())),
            metadata_beside(file.parent),
            told=told,
        )
        require_one_array(self.name, found.output, found.spec)
        return found

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open the program and its one method; the thread pool is the process's one."""
        self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        loading.require_cpu(self.name, options)
        runtime = _runtime()
        program = _open(runtime, artifact.path)
        found = tuple(program.method_meta(METHOD).input_tensor_meta(0).sizes())
        loading.require_shape(artifact.path, found, options)
        runtime._unsafe_reset_threadpool(options.threads)  # noqa: SLF001 - the only way there is
        return ExecuTorchSession(runtime, program, artifact.path, options.input_shape)


class ExecuTorchSession(base.Session):
    """One loaded method. Its program has to live as long."""

    def __init__(
        self, runtime: Any, program: Any, path: Path, input_shape: tuple[int, int, int, int]
    ) -> None:
        super().__init__(input_shape)
        import torch

        self._from_numpy = torch.from_numpy
        self._runtime = runtime
        self._program = program
        self._path = path
        self._type = _input_type(path, program)
        self._method = _method(program, path)

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One call; input and output are copied, as planned memory ends with the session."""
        tensor = self._from_numpy(images.astype(self._type, copy=False))
        output = self._method.call([tensor], clone_outputs=False)[0]
        predictions: npt.NDArray[np.float32] = output.numpy().astype("float32")
        return predictions

    def executed_precision(self) -> base.ExecutedPrecision:
        """XNNPACK's operators by data type, from the profile of one inference.

        A second program, opened to be profiled and thrown away, runs; the one that is measured is
        never profiled.
        """
        import numpy as np

        program = _load(self._runtime, self._path, enable_etdump=True)
        images = self._from_numpy(np.zeros(self.input_shape, self._type))
        _method(program, self._path).call([images])
        if not program.has_etdump():
            return base.ExecutedPrecision(
                reason="this build of ExecuTorch does not record its runs"
            )
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            dump = Path(folder, "run.etdp")
            program.write_etdump_result_to_file(str(dump), str(Path(folder, "debug.bin")))
            counts = executorch_trace.layers(dump.read_bytes())
        if not counts:
            return base.ExecutedPrecision(
                reason="this program's delegates do not record what they ran"
            )
        return base.ExecutedPrecision(counts, source="ETDump of an inference")


def _runtime() -> Any:
    """The runtime's binding. Raises UnavailableError where it is not installed."""
    # Its libraries are linked against torch's, which have to be there first.
    loading.runtime("torch", REMEDY, called="executorch")
    return loading.runtime("executorch.extension.pybindings._C", REMEDY, called="executorch")


def _check_head(path: Path) -> None:
    """Raise LoadError where a file is missing, no program, or shorter than it says."""
    loading.require_file(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] != IDENTIFIER:
        raise base.LoadError(
            f"{path} is no ExecuTorch program: it has no {IDENTIFIER.decode()} at 4"
        )
    if head[8:12] != EXTENDED_HEADER:
        return
    length = int.from_bytes(head[12:16], "little")
    program, start_of_segments, segments = (
        int.from_bytes(head[start : start + 8], "little") for start in (16, 24, 32)
    )
    wanted = max(program, start_of_segments + (segments if length > 24 else 0))  # noqa: PLR2004 - its first form
    if size < wanted:
        raise base.LoadError(f"{path} is cut off: it has {size} of {wanted} bytes")


def _open(runtime: Any, path: Path) -> Any:
    """The program in a file, checked to be one of a detector's kind: an image, one output."""
    _check_head(path)
    program = _load(runtime, path)
    names = [program.get_method_name(index) for index in range(program.num_methods())]
    if METHOD not in names:
        raise base.LoadError(f"{path} has no method {METHOD!r}, only {', '.join(names)}")
    meta = program.method_meta(METHOD)
    if meta.num_inputs() != 1 or meta.num_outputs() < 1:
        raise base.LoadError(
            f"{path} has {meta.num_inputs()} inputs and {meta.num_outputs()} outputs, "
            "Deploymark gives one image tensor and reads one of boxes"
        )
    return program


def _load(runtime: Any, path: Path, *, enable_etdump: bool = False) -> Any:
    """The program in a file, its structure verified: a broken one would end the process."""
    try:
        return runtime._load_program(  # noqa: SLF001 - the binding's names all begin so
            str(path),
            enable_etdump=enable_etdump,
            program_verification=runtime.Verification.InternalConsistency,
        )
    except RuntimeError as error:
        raise base.LoadError(f"ExecuTorch refuses {path}: {_reason(error)}") from error


def _input_type(path: Path, program: Any) -> str:
    """NumPy's name of the type that the program takes images in."""
    number = int(program.method_meta(METHOD).input_tensor_meta(0).dtype())
    if number not in INPUT_TYPES:
        raise base.LoadError(f"{path} takes images of ExecuTorch's type {number}, not of floats")
    return INPUT_TYPES[number]


def _method(program: Any, path: Path) -> Any:
    """The method that is run, its delegates made ready."""
    try:
        return program.load_method(METHOD)
    except RuntimeError as error:
        raise base.LoadError(f"ExecuTorch cannot prepare {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The runtime's message with its error code in words; details go to its log."""
    code = re.search(r"0x:?([0-9a-f]+)", str(error))
    words = ERRORS.get(f"0x{code[1]}") if code else None
    return f"{error} ({words})" if words else str(error)
