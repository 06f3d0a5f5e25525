"""TorchScript: traced files, Ultralytics' included, frozen and run by PyTorch's JIT.

A file keeps the float model and notes what it takes; what depends on the machine (freezing, fusing)
is done when it is loaded. PyTorch calls TorchScript deprecated since 2.10 and goes on shipping it.
The paths for CUDA are written from PyTorch's documentation and were not run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, foreign, loading, packages
from deploymark.backends.ends import chosen
from deploymark.backends.exporting import failures, quiet
from deploymark.backends.openmp import OpenMpBackend
from deploymark.backends.pytorch import program as torch_program
from deploymark.backends.pytorch import runtime, torchscript_file
from deploymark.backends.pytorch.session import PyTorchSession

if TYPE_CHECKING:
    import numpy.typing as npt

ENDING = ".torchscript"
"""What Ultralytics' files end in, and ours."""

RUNTIME_OPTIONS: dict[str, tuple[base.Setting, ...]] = {"optimize_for_inference": (False, True)}
"""Runtime options and their values, the defaults first. PyTorch's ``optimize_for_inference`` puts
each convolution between a conversion to oneDNN's layout and one back, as no pass carries SiLU over:
88 round trips in a YOLO11n, and slower than freezing alone wherever it was tried."""

BF16_REASON = "Deploymark exports TorchScript in fp32, and in fp16 for CUDA"
INT8_REASON = (
    "TorchScript has no static INT8 for a detector's convolutions without converting its source by "
    "hand"
)


LOADER = """\
import torch

torch.set_num_threads($threads)
file = str(Path(__file__).with_name("$entry"))
model = torch.jit.freeze(torch.jit.load(file, map_location="$device").eval())
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


class TorchScriptBackend(OpenMpBackend):
    """Exports with ``torch.jit.trace`` and runs the frozen module."""

    name = "torchscript"
    export_packages = ("torch", "ultralytics")
    runtime_packages = ("torch",)
    runtime_modules = runtime.MODULES
    extra = "torchscript"
    loader = LOADER
    artifact_endings = (ENDING,)

    def probe(self) -> base.Probe:
        """The CPU is always served, CUDA where the wheel was built with it and a driver is."""
        absent = runtime.not_installed(self.name, self.extra)
        if absent is not None:
            return absent
        services = {
            ("cpu", "fp32"): base.Service(served=True),
            ("cpu", "fp16"): base.Service.never(runtime.FP16_REASON),
            ("cpu", "bf16"): base.Service.never(BF16_REASON),
            ("cpu", "int8"): base.Service.never(INT8_REASON),
        }
        if runtime.serves_cuda():
            services |= {
                ("cuda", "fp32"): base.Service(served=True),
                ("cuda", "fp16"): base.Service(served=True),
                ("cuda", "bf16"): base.Service.never(BF16_REASON),
                ("cuda", "int8"): base.Service.never(INT8_REASON),
            }
        version = packages.installed_version("torch")
        return base.Probe.present(self.name, version, services)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.torchscript``, traced on the device that it is for.

        Tracing burns the device into the program, so a CUDA file is made on a machine that has one.
        """
        served = ("fp32", "fp16") if request.device == "cuda" else ("fp32",)
        if request.precision not in served:
            raise base.UnsupportedError(
                f"torchscript has no {request.precision} on {request.device}",
                remedy=f"Take {' or '.join(served)}.",
            )
        self.resolve_options(request.precision, request.options)
        artifact = base.Artifact(request.folder, f"model{ENDING}")
        with failures("torch.jit.trace"):
            import torch

            runtime.require_device(torch, request.device)
            with torch.no_grad(), quiet("torch"):
                model, given = torch_program.prepared(request)
                model = model.to(request.device)
                given = tuple(item.to(request.device) for item in given)
                traced = torch.jit.trace(model, given, check_trace=False)
                note = {torchscript_file.NOTE: json.dumps(torchscript_file.note(request))}
                traced.save(str(artifact.path), _extra_files=note)
        return artifact

    def describe(self, path: Path, told: base.ReadAs = base.AS_SEEN) -> base.ArtifactFacts:
        """The facts of a ``.torchscript`` file: its note's, and what one inference shows."""
        file = foreign.the_file(path, f"*{ENDING}")
        options = base.LoadOptions("cpu", "fp32", threads=1, input_shape=(1, 3, 1, 1))
        torch = runtime.start(options, self.extra)
        opened = torchscript_file.open_file(torch, file, "cpu")
        with torch.inference_mode(), quiet("torch"):
            inputs, outputs = torchscript_file.ends(torch, file, opened)
        return foreign.facts(
            base.Artifact(file.parent, file.name),
            [file],
            inputs,
            outputs,
            foreign.read_metadata(opened.note),
            precision=opened.precision,
            told=told,
        )

    def runtime_choices(self, options: base.LoadOptions) -> Mapping[str, tuple[base.Setting, ...]]:
        """``RUNTIME_OPTIONS``, and ``wait`` on the CPU: see ``waiting``."""
        return {**RUNTIME_OPTIONS, **super().runtime_choices(options)}

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Open and freeze the file on one device."""
        optimize = bool(self.resolve_runtime_options(options)["optimize_for_inference"])
        loading.require_file(artifact.path)
        torch = runtime.start(options, self.extra)
        opened = torchscript_file.open_file(torch, artifact.path, options.device)
        expected = torchscript_file.noted_shape(opened.note)
        if expected is not None:
            loading.require_shape(artifact.path, expected, options)
        with torch.inference_mode(), quiet("torch"):
            order: Sequence[int] | None = None
            if expected is None or (options.output is not None and options.output.names):
                shape = options.spec.shape(options.input_shape)
                found = torchscript_file.run(torch, artifact.path, opened, shape, options.spec)
                order = chosen(artifact.path, [end.name for end in found], options.output)
            try:
                module = _prepared(torch, opened.module, optimize=optimize)
            except Exception as error:
                raise base.LoadError(
                    f"TorchScript cannot freeze {artifact.path}: {type(error).__name__}: {error}"
                ) from error
        return TorchScriptSession(torch, module, opened.input_dtype, options, order)


class TorchScriptSession(PyTorchSession):
    """A frozen script module on one device.

    ``order``: where the contract's arrays are among the tensors that it gives.
    """

    def __init__(
        self,
        torch: Any,
        module: Any,
        input_dtype: Any,
        options: base.LoadOptions,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(torch, options)
        self._module = module
        self._input_dtype = input_dtype
        self._order = order

    def infer_impl(self, images: npt.NDArray[Any]) -> base.Outputs:
        """One forward; on an accelerator the copies there and back are part of it."""
        with self._torch.inference_mode():
            given = self._torch.from_numpy(images).to(self._device, self._input_dtype)
            return self._arrays(self._module(given, *self._others), self._order)


def _prepared(torch: Any, module: Any, *, optimize: bool) -> Any:
    """The module with its weights as constants; a frozen one is left as it is."""
    if optimize:
        return torch.jit.optimize_for_inference(module)
    return torch.jit.freeze(module) if hasattr(module, "training") else module
