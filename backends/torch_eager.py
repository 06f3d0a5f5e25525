"""PyTorch's own kernels, run operator by operator from a ``torch.export`` program.

The program holds graph and weights, so that a worker needs torch alone, not the package that
defines the model. Its operators are those of eager mode, and its results equal eager mode's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import accelerators, cpu, packages, torch_half
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
from backends.onnx_graph import quiet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HEAVY = frozenset({"conv2d", "convolution", "linear", "matmul", "mm", "addmm", "bmm", "baddbmm"})
"""ATen operators that ``executed_precision`` counts: nearly all arithmetic of a detector."""

SHORT_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "i8", "uint8": "u8"}

INT8_REASON = (
    "PyTorch's eager kernels have no INT8 for a detector: dynamic quantization covers Linear and "
    "recurrent layers only, and a detector has none"
)


class TorchBackend(Backend):
    """Exports with ``torch.export`` and runs the program's graph module."""

    name = "torch"
    export_packages = ("torch", "ultralytics")
    runtime_packages = ("torch",)
    # The second is what torch.export.load imports first: large, and no part of a model.
    runtime_modules = ("torch", "torch.export.pt2_archive")
    extra = "torch"

    def probe(self) -> Probe:
        """Devices are told from the wheel's build note and the system, not by asking torch."""
        version = packages.installed_version("torch")
        if version is None or packages.missing(["torch"]):
            return Probe(
                self.name,
                installed=False,
                reason="not installed",
                remedy="pip install 'deploymark[torch]'",
            )
        return Probe(
            self.name,
            installed=True,
            version=version,
            can_export=True,
            services=self._services(),
        )

    def _services(self) -> dict[tuple[str, str], Service]:
        here = cpu.detect()
        yes = Service(served=True)
        no_int8 = Service(served=False, exists=False, reason=INT8_REASON)
        services = {
            ("cpu", "fp32"): yes,
            ("cpu", "bf16"): Service(
                served=True,
                native=here.has_bf16,
                reason="" if here.has_bf16 else "this CPU has no bfloat16 instructions",
            ),
            ("cpu", "fp16"): Service(
                served=False,
                exists=False,
                reason="PyTorch's CPU kernels are not made for float16 convolutions",
                remedy="Take bf16.",
            ),
            ("cpu", "int8"): no_int8,
        }
        if _built_with_cuda() and accelerators.has_nvidia_gpu():
            services |= {("cuda", precision): yes for precision in ("fp32", "fp16", "bf16")}
            services["cuda", "int8"] = no_int8
        if sys.platform == "darwin" and platform.machine() == "arm64":
            services |= {("mps", precision): yes for precision in ("fp32", "fp16")}
            services["mps", "int8"] = no_int8
        return services

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.pt2``, weights in channels-last order where the model allows it.

        oneDNN's and cuDNN's convolutions are laid out that way; strides are part of the program, so
        the order has to be chosen before tracing. BF16 and FP16: see ``torch_half``.
        """
        if request.precision not in ("fp32", *torch_half.DTYPES):
            reason = INT8_REASON if request.precision.startswith("int8") else ""
            raise UnsupportedError(reason or f"torch has no {request.precision}")
        self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, "model.pt2")
        try:
            import torch

            example = torch.zeros(request.batch, 3, request.imgsz, request.imgsz)
            with torch.no_grad(), quiet("torch"):
                model = _in_channels_last(request, example)
                if request.precision != "fp32":
                    torch_half.convert(model, request.precision, request.float_nodes)
                program = torch.export.export(model, (example,))
                torch.export.save(program, artifact.path)
        except BackendError:
            raise
        except Exception as error:
            raise ExportError(f"torch.export failed: {type(error).__name__}: {error}") from error
        return artifact

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load the program onto one device.

        Waiting threads sleep (``OMP_WAIT_POLICY``) unless the environment says otherwise: spinning
        ones made two threads many times slower as soon as the machine had other work.
        """
        if options.options:
            unknown = ", ".join(sorted(options.options))
            raise UnsupportedError(f"torch has no runtime option {unknown}")
        if not artifact.path.is_file():
            raise LoadError(f"there is no file {artifact.path}")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import torch
        except ImportError as error:
            raise UnavailableError(
                f"torch cannot be imported: {error}", remedy="pip install 'deploymark[torch]'"
            ) from error
        _require_device(torch, options.device)
        torch.set_num_threads(options.threads)
        if torch.get_num_interop_threads() != 1:
            # Can be set once in a process only, and not after work began.
            with contextlib.suppress(RuntimeError):
                torch.set_num_interop_threads(1)
        try:
            with quiet("torch"):
                module = _load_program(torch, artifact.path, options.device)
        except Exception as error:
            raise LoadError(
                f"torch.export.load refuses {artifact.path}: {type(error).__name__}: {error}"
            ) from error
        expected = _input_shape(module)
        if expected != options.input_shape:
            raise LoadError(
                f"{artifact.path} takes images of shape {expected}, not {options.input_shape}"
            )
        return TorchSession(torch, module, options)


class TorchSession(Session):
    """A graph module on one device."""

    def __init__(self, torch: Any, module: Any, options: LoadOptions) -> None:
        super().__init__(options.input_shape)
        self._torch = torch
        self._module = module
        self._device = torch.device(options.device)

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One forward; on an accelerator the copies there and back are part of it."""
        with self._torch.inference_mode():
            output = self._module(self._torch.from_numpy(images).to(self._device))
            predictions: npt.NDArray[np.float32] = output.float().cpu().numpy()
        return predictions

    def executed_precision(self) -> ExecutedPrecision:
        """Convolutions and matrix products by data type, as the dispatcher saw one inference."""
        import numpy as np
        from torch.utils._python_dispatch import TorchDispatchMode

        counts: dict[str, int] = {}

        class Count(TorchDispatchMode):  # type: ignore[misc]
            """Sees each operator on its way to its kernel; gone when the block ends."""

            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                del types
                name = func.overloadpacket.__name__
                if name in HEAVY:
                    tensor = args[1] if name in ("addmm", "baddbmm") else args[0]
                    data_type = str(tensor.dtype).removeprefix("torch.")
                    key = f"{name}:{SHORT_TYPES.get(data_type, data_type)}"
                    counts[key] = counts.get(key, 0) + 1
                return func(*args, **(kwargs or {}))

        with Count():
            self.infer_impl(np.zeros(self.input_shape, np.float32))
        return ExecutedPrecision(dict(sorted(counts.items())), source="dispatched operators")

    def device_memory_bytes(self) -> int | None:
        """Peak of torch's allocator on a CUDA device since the start of the process."""
        if self._device.type != "cuda":
            return None
        return int(self._torch.cuda.max_memory_reserved(self._device))


def _built_with_cuda() -> bool:
    """True if the installed wheel was built with CUDA, as its ``torch/version.py`` notes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b[^=]*=\s*['\"]", text, flags=re.MULTILINE) is not None


def _in_channels_last(request: ExportRequest, example: Any) -> Any:
    """The model in channels-last order if it runs so, else as it came.

    The forward also lets heads build their anchors, which makes them constants of the program.
    """
    import torch

    model = request.model().to(memory_format=torch.channels_last)
    try:
        output = model(example)
    except RuntimeError:  # a view that only row-major order allows
        model = request.model()
        output = model(example)
    if not isinstance(output, torch.Tensor):
        raise ExportError(
            f"the model returns {type(output).__name__}, not one tensor of predictions"
        )
    return model


def _require_device(torch: Any, device: str) -> None:
    """Raise UnavailableError unless torch can use the device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "torch finds no CUDA device", remedy="Check the driver with nvidia-smi."
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise UnavailableError("torch finds no Metal device")
    if device not in ("cpu", "cuda", "mps"):
        raise UnavailableError(f"torch has no device {device!r} here")


def _load_program(torch: Any, path: Path, device: str) -> Any:
    """The program as a graph module on a device."""
    program = torch.export.load(path)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    # Session.infer checks the shape already; older versions know no guards.
    takes_guards = "check_guards" in inspect.signature(program.module).parameters
    return program.module(check_guards=False) if takes_guards else program.module()


def _input_shape(module: Any) -> tuple[int, ...]:
    """Shape of the one input, from the graph's placeholder."""
    for node in module.graph.nodes:
        if node.op == "placeholder":
            return tuple(int(size) for size in node.meta["val"].shape)
    return ()
