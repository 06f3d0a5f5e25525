"""PyTorch's own kernels, run operator by operator from a ``torch.export`` program.

The program holds graph and weights, so that a worker needs torch alone, not the package that
defines the model. Its operators are those of eager mode, and its results equal eager mode's. The
paths for CUDA and Metal are written from PyTorch's documentation and were run on neither.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.exporting import failures, quiet
from deploymark.backends.openmp import OpenMpBackend
from deploymark.backends.pytorch import dynamic as torch_dynamic
from deploymark.backends.pytorch import half as torch_half
from deploymark.backends.pytorch import program as torch_program
from deploymark.backends.pytorch import runtime
from deploymark.backends.pytorch.session import PyTorchSession

if TYPE_CHECKING:
    import numpy.typing as npt

FLOATS = ("fp32", *torch_half.DTYPES)
"""Precisions without quantization."""

INT8_REASON = (
    "PyTorch's eager kernels have no static INT8 for a detector's convolutions without converting "
    "its source by hand"
)

DYNAMIC_INT8 = "int8-dynamic"


LOADER = """\
import torch
import torch.export

torch.set_num_threads($threads)
model = torch.export.load(Path(__file__).with_name("$entry")).module().to("$device")
extra = [torch.from_numpy(value).to("$device") for value in EXTRA.values()]


def infer(images):
    with torch.inference_mode():
        found = model(torch.from_numpy(images).to("$device"), *extra)
    if isinstance(found, torch.Tensor):
        return found.float().cpu().numpy()
    if isinstance(found, dict):
        return [found[key].cpu().numpy() for key in OUTPUTS]
    places = (int(key) if str(key).isdigit() else place for place, key in enumerate(OUTPUTS))
    return [found[place].cpu().numpy() for place in places]
"""


class TorchBackend(OpenMpBackend):
    """Exports with ``torch.export`` and runs the program's graph module."""

    name = "torch"
    export_packages = ("torch", "ultralytics")
    runtime_packages = ("torch",)
    # The second is what torch.export.load imports first: large, and no part of a model.
    runtime_modules = ("torch", "torch.export.pt2_archive")
    extra = "torch"
    loader = LOADER

    def probe(self) -> base.Probe:
        """Devices are told from the wheel's build note and the system, not by asking torch."""
        absent = runtime.not_installed(self.name, self.extra)
        if absent is not None:
            return absent
        version = packages.installed_version("torch")
        return base.Probe.present(self.name, version, self._services())

    def _services(self) -> dict[tuple[str, str], base.Service]:
        yes = base.Service(served=True)
        no_int8 = base.Service.never(INT8_REASON)
        services = {
            ("cpu", "fp32"): yes,
            ("cpu", "bf16"): runtime.bf16_on_cpu(),
            ("cpu", "fp16"): base.Service.never(runtime.FP16_REASON, "Take bf16."),
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

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.pt2``.

        INT8-dynamic goes as far as PyTorch does: it raises UnsupportedError where the model has no
        layer that dynamic quantization covers, or where ``torch.export`` cannot hold such layers.
        """
        if request.precision not in (*FLOATS, DYNAMIC_INT8):
            static = request.precision == "int8"
            raise base.UnsupportedError(
                INT8_REASON if static else f"torch has no {request.precision}"
            )
        self.resolve_options(request.precision, request.options)
        artifact = base.Artifact(request.folder, "model.pt2")
        with failures("torch.export"):
            import torch

            with torch.no_grad(), quiet("torch"):
                model, given = torch_program.prepared(request)
                if request.precision == DYNAMIC_INT8:
                    program = torch_dynamic.program(model, given)
                else:
                    program = torch.export.export(model, given)
                torch.export.save(program, artifact.path)
        return artifact

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Load the program onto one device."""
        self.resolve_runtime_options(options)
        loading.require_file(artifact.path)
        torch = runtime.start(options, self.extra)
        try:
            with quiet("torch"):
                module = _opened(torch, artifact.path, options.device)
        except Exception as error:
            raise base.LoadError(
                f"torch.export.load refuses {artifact.path}: {type(error).__name__}: {error}"
            ) from error
        loading.require_shape(artifact.path, _input_shape(module), options)
        return TorchSession(torch, module, options)


class TorchSession(PyTorchSession):
    """A graph module on one device."""

    def __init__(self, torch: Any, module: Any, options: base.LoadOptions) -> None:
        super().__init__(torch, options)
        self._module = module

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One forward; on an accelerator the copies there and back are part of it."""
        with self._torch.inference_mode():
            given = self._torch.from_numpy(images).to(self._device)
            return self._arrays(self._module(given, *self._others))


def _opened(torch: Any, path: Path, device: str) -> Any:
    """The program; of a model of torchvision once that has brought its operators in."""
    try:
        return _load_program(torch, path, device)
    except Exception:
        if importlib.util.find_spec("torchvision") is None:
            raise
        importlib.import_module("torchvision")
        return _load_program(torch, path, device)


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
