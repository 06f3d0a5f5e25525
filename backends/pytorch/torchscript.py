"""TorchScript: traced files, Ultralytics' included, frozen and run by PyTorch's JIT.

A file keeps the float model and notes what it takes; what depends on the machine (freezing, fusing)
is done when it is loaded. PyTorch calls TorchScript deprecated since 2.10 and goes on shipping it.
The paths for CUDA are written from PyTorch's documentation and were not run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import foreign, packages, waiting
from deploymark.backends.base import (
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
    UnsupportedError,
)
from deploymark.backends.onnx.graph import quiet
from deploymark.backends.pytorch import ops as torch_ops
from deploymark.backends.pytorch import program as torch_program
from deploymark.backends.pytorch import runtime, torchscript_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ENDING = ".torchscript"
"""What Ultralytics' files end in, and ours."""

RUNTIME_OPTIONS: dict[str, tuple[Setting, ...]] = {"optimize_for_inference": (False, True)}
"""Runtime options and their values, the defaults first. PyTorch's ``optimize_for_inference`` puts
each convolution between a conversion to oneDNN's layout and one back, as no pass carries SiLU over:
88 round trips in a YOLO11n, and slower than freezing alone wherever it was tried."""

BF16_REASON = "Deploymark exports TorchScript in fp32, and in fp16 for CUDA"
FP16_REASON = "PyTorch's CPU kernels are not made for float16 convolutions"
INT8_REASON = (
    "TorchScript has no static INT8 for a detector's convolutions without converting its source by "
    "hand"
)


class TorchScriptBackend(Backend):
    """Exports with ``torch.jit.trace`` and runs the frozen module."""

    name = "torchscript"
    export_packages = ("torch", "ultralytics")
    runtime_packages = ("torch",)
    runtime_modules = runtime.MODULES
    extra = "torchscript"
    giving_way = waiting.GIVING_WAY
    artifact_endings = (ENDING,)

    def probe(self) -> Probe:
        """The CPU is always served, CUDA where the wheel was built with it and a driver is."""
        absent = runtime.not_installed(self.name, self.extra)
        if absent is not None:
            return absent
        services = {
            ("cpu", "fp32"): Service(served=True),
            ("cpu", "fp16"): _never(FP16_REASON),
            ("cpu", "bf16"): _never(BF16_REASON),
            ("cpu", "int8"): _never(INT8_REASON),
        }
        if runtime.serves_cuda():
            services |= {
                ("cuda", "fp32"): Service(served=True),
                ("cuda", "fp16"): Service(served=True),
                ("cuda", "bf16"): _never(BF16_REASON),
                ("cuda", "int8"): _never(INT8_REASON),
            }
        return Probe(
            self.name,
            installed=True,
            version=packages.installed_version("torch"),
            can_export=True,
            services=services,
        )

    def export(self, request: ExportRequest) -> Artifact:
        """Write ``model.torchscript``, traced on the device that it is for.

        Tracing burns the device into the program, so a CUDA file is made on a machine that has one.
        """
        served = ("fp32", "fp16") if request.device == "cuda" else ("fp32",)
        if request.precision not in served:
            raise UnsupportedError(
                f"torchscript has no {request.precision} on {request.device}",
                remedy=f"Take {' or '.join(served)}.",
            )
        self.resolve_options(request.precision, request.options)
        artifact = Artifact(request.folder, f"model{ENDING}")
        try:
            import torch

            runtime.require_device(torch, request.device)
            with torch.no_grad(), quiet("torch"):
                model, example = torch_program.prepared(request)
                model, example = model.to(request.device), example.to(request.device)
                traced = torch.jit.trace(model, example, check_trace=False)
                note = {torchscript_file.NOTE: json.dumps(torchscript_file.note(request))}
                traced.save(str(artifact.path), _extra_files=note)
        except BackendError:
            raise
        except Exception as error:
            raise ExportError(f"torch.jit.trace failed: {type(error).__name__}: {error}") from error
        return artifact

    def describe(self, path: Path) -> ArtifactFacts:
        """The facts of a ``.torchscript`` file: its note's, and what one inference shows."""
        file = foreign.the_file(path, f"*{ENDING}")
        options = LoadOptions("cpu", "fp32", threads=1, input_shape=(1, 3, 1, 1))
        torch = runtime.start(options, self.extra)
        opened = torchscript_file.open_file(torch, file, "cpu")
        with torch.inference_mode(), quiet("torch"):
            input_shape, output_shape = torchscript_file.shapes(torch, file, opened)
        return foreign.facts(
            Artifact(file.parent, file.name),
            [file],
            input_shape,
            [output_shape],
            foreign.read_metadata(opened.note),
            precision=opened.precision,
        )

    def runtime_choices(self, options: LoadOptions) -> Mapping[str, tuple[Setting, ...]]:
        """``RUNTIME_OPTIONS``, and ``wait`` on the CPU: see ``waiting``."""
        return RUNTIME_OPTIONS | runtime.choices(options)

    def runtime_environment(self, settings: Mapping[str, Setting]) -> Mapping[str, str]:
        """Variables that ``wait`` comes to."""
        return runtime.environment(settings)

    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Open and freeze the file on one device."""
        optimize = bool(self.resolve_runtime_options(options)["optimize_for_inference"])
        if not artifact.path.is_file():
            raise LoadError(f"there is no file {artifact.path}")
        torch = runtime.start(options, self.extra)
        opened = torchscript_file.open_file(torch, artifact.path, options.device)
        expected = torchscript_file.noted_shape(opened.note)
        if expected is not None and not foreign.fits(expected, options.input_shape):
            raise LoadError(
                f"{artifact.path} takes images of shape {expected}, not {options.input_shape}"
            )
        with torch.inference_mode(), quiet("torch"):
            if expected is None:
                torchscript_file.run(torch, artifact.path, opened, options.input_shape)
            try:
                module = _prepared(torch, opened.module, optimize=optimize)
            except Exception as error:
                raise LoadError(
                    f"TorchScript cannot freeze {artifact.path}: {type(error).__name__}: {error}"
                ) from error
        return TorchScriptSession(torch, module, opened.input_dtype, options)


class TorchScriptSession(Session):
    """A frozen script module on one device."""

    def __init__(self, torch: Any, module: Any, input_dtype: Any, options: LoadOptions) -> None:
        super().__init__(options.input_shape)
        self._torch = torch
        self._module = module
        self._input_dtype = input_dtype
        self._device = torch.device(options.device)

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One forward; on an accelerator the copies there and back are part of it."""
        with self._torch.inference_mode():
            given = self._torch.from_numpy(images).to(self._device, self._input_dtype)
            predictions: npt.NDArray[np.float32] = self._module(given).float().cpu().numpy()
        return predictions

    def executed_precision(self) -> ExecutedPrecision:
        """Convolutions and matrix products by data type, from one inference."""
        import numpy as np

        images = np.zeros(self.input_shape, np.float32)
        return torch_ops.executed(self._torch, lambda: self.infer_impl(images))

    def device_memory_bytes(self) -> int | None:
        """Peak of torch's allocator on a CUDA device since the start of the process."""
        return runtime.device_memory_bytes(self._torch, self._device.type)


def _never(reason: str) -> Service:
    return Service(served=False, exists=False, reason=reason)


def _prepared(torch: Any, module: Any, *, optimize: bool) -> Any:
    """The module with its weights as constants; a frozen one is left as it is."""
    if optimize:
        return torch.jit.optimize_for_inference(module)
    return torch.jit.freeze(module) if hasattr(module, "training") else module
