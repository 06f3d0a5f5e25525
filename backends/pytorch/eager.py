"""PyTorch's own kernels, run operator by operator from a ``torch.export`` program.

The program holds graph and weights, so that a worker needs torch alone, not the package that
defines the model. Its operators are those of eager mode, and its results equal eager mode's. The
paths for CUDA and Metal are written from PyTorch's documentation and were run on neither.
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import packages, waiting
from deploymark.backends.base import (
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
    Setting,
    UnsupportedError,
)
from deploymark.backends.hardware import cpu
from deploymark.backends.onnx.graph import quiet
from deploymark.backends.pytorch import (
    dynamic as torch_dynamic,
)
from deploymark.backends.pytorch import (
    half as torch_half,
)
from deploymark.backends.pytorch import (
    ops as torch_ops,
)
from deploymark.backends.pytorch import (
    program as torch_program,
)
from deploymark.backends.pytorch import runtime

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FLOATS = ("fp32", *torch_half.DTYPES)
"""Precisions without quantization."""

INT8_REASON = (
    "PyTorch's eager kernels have no static INT8 for a detector's convolutions without converting "
    "its source by hand"
)

DYNAMIC_INT8 = "int8-dynamic"


class TorchBackend(Backend):
    """Exports with ``torch.export`` and runs the program's graph module."""

    name = "torch"
    export_packages = ("torch", "ultralytics")
    runtime_packages = ("torch",)
    # The second is what torch.export.load imports first: large, and no part of a model.
    runtime_modules = ("torch", "torch.export.pt2_archive")
    extra = "torch"
    giving_way = waiting.GIVING_WAY

    def probe(self) -> Probe:
        """Devices are told from the wheel's build note and the system, not by asking torch."""
        absent = runtime.not_installed(self.name, self.extra)
        if absent is not None:
            return absent
        return Probe(
            self.name,
            installed=True,
            version=packages.installed_version("torch"),
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
            # Whether a model has a layer that it covers shows in the export.
            ("cpu", DYNAMIC_INT8): yes,
        }
        if runtime.serves_cuda():
            services |= {("cuda", precision): yes for precision in ("fp32", "fp16", "bf16")}
            services["cuda", "int8"] = no_int8
        if sys.platform == "darwin" and platform.machine() == "arm64":
            services |= {("mps", precision): yes for precision in ("fp32", "fp16", "bf16")}
            services["mps", "int8"] = no_int8
        return services

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.pt2``.

        INT8-dynamic goes as far as PyTorch does: it raises UnsupportedError where the model has no
        layer that dynamic quantization covers, or where ``torch.export`` cannot hold such layers.
        """
        if request.precision not in (*FLOATS, DYNAMIC_INT8):
            static = request.precision == "int8"
            raise UnsupportedError(INT8_REASON if static else f"torch has no {request.precision}")
        self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, "model.pt2")
        try:
            import torch

            with torch.no_grad(), quiet("torch"):
                model, example = torch_program.prepared(request)
                if request.precision == DYNAMIC_INT8:
                    program = torch_dynamic.program(model, example)
                else:
                    program = torch.export.export(model, (example,))
                torch.export.save(program, artifact.path)
        except BackendError:
            raise
        except Exception as error:
            raise ExportError(f"torch.export failed: {type(error).__name__}: {error}") from error
        return artifact

    def runtime_choices(self, options: LoadOptions) -> Mapping[str, tuple[Setting, ...]]:
        """``wait``, on the CPU: see ``waiting``."""
        return runtime.choices(options)

    def runtime_environment(self, settings: Mapping[str, Setting]) -> Mapping[str, str]:
        """Variables that ``wait`` comes to."""
        return runtime.environment(settings)

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Load the program onto one device."""
        self.resolve_runtime_options(options)
        if not artifact.path.is_file():
            raise LoadError(f"there is no file {artifact.path}")
        torch = runtime.start(options, self.extra)
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
        """Convolutions and matrix products by data type, from one inference."""
        import numpy as np

        images = np.zeros(self.input_shape, np.float32)
        return torch_ops.executed(self._torch, lambda: self.infer_impl(images))

    def device_memory_bytes(self) -> int | None:
        """Peak of torch's allocator on a CUDA device since the start of the process."""
        return runtime.device_memory_bytes(self._torch, self._device.type)


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
