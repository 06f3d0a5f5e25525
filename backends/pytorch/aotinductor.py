"""AOTInductor: a detector compiled by PyTorch's Inductor and the system's C++ compiler.

Element-wise work is fused into generated kernels, convolutions are oneDNN's (cuDNN's on a GPU). The
package fits the CPU it was compiled on. The paths for CUDA are written from PyTorch's documentation
and were not run; they need Triton and CUDA's headers besides.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, loading, packages
from deploymark.backends.exporting import failures, quiet
from deploymark.backends.hardware import cpu
from deploymark.backends.one_array import require_one_array
from deploymark.backends.openmp import OpenMpBackend
from deploymark.backends.pytorch import aoti_package, runtime
from deploymark.backends.pytorch import program as torch_program
from deploymark.backends.pytorch.session import PyTorchSession

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PRECISIONS = {
    "cpu": ("fp32", "bf16"),
    "cuda": ("fp32", "fp16", "bf16"),
}
"""Precisions by device."""

INT8_REASON = (
    "Inductor has INT8 for models that PyTorch's PT2E quantizer converted, and could not lower a "
    "detector's"
)
COMPILER_REMEDY = "apt install g++, or name a compiler in the environment variable CXX"


LOADER = """\
import os

os.environ["OMP_NUM_THREADS"] = "$threads"  # the package brings an OpenMP of its own
import torch
import torch._inductor

torch.set_num_threads($threads)
model = torch._inductor.aoti_load_package(str(Path(__file__).with_name("$entry")))


def infer(images):
    with torch.inference_mode():
        return model(torch.from_numpy(images).to("$device")).cpu().numpy()
"""


class AotInductorBackend(OpenMpBackend):
    """Compiles a ``torch.export`` program ahead of time and runs the shared library."""

    name = "aotinductor"
    export_packages = ("torch", "triton", "ultralytics")
    runtime_packages = ("torch",)
    runtime_modules = runtime.MODULES
    extra = "aotinductor"
    loader = LOADER

    def probe(self) -> base.Probe:
        """Exporting needs a C++ compiler, running what was exported does not."""
        absent = runtime.not_installed(self.name, self.extra)
        if absent is not None:
            return absent
        compiler = find_compiler()
        return base.Probe(
            self.name,
            installed=True,
            version=packages.installed_version("torch"),
            can_export=compiler is not None,
            services=_services(),
            reason="" if compiler else f"cannot export without a C++ compiler ({_wanted()})",
            remedy="" if compiler else COMPILER_REMEDY,
        )

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options, the same for every precision.

        ``freezing``: fold weights into constants and lay them out for oneDNN ahead of time, which
        also lets convolutions take their activation in. ``simd``: what the compiler makes use of
        (``aoti_package.simd_of``). It is always this machine's, and part of the key so that
        another machine's artifact is not taken for this one's.
        """
        del precision
        resolved = {"freezing": True, "simd": aoti_package.simd_of(cpu.detect())}
        unknown = sorted(set(options) - set(resolved))
        if unknown:
            raise base.UnsupportedError(
                f"aotinductor has no export option {', '.join(unknown)}",
                remedy=f"Its options are {', '.join(resolved)}.",
            )
        freezing = options.get("freezing", True)
        if not isinstance(freezing, bool):
            raise base.UnsupportedError(
                f"aotinductor's option freezing is true or false, got {freezing!r}"
            )
        simd = options.get("simd", resolved["simd"])
        if simd != resolved["simd"]:
            raise base.UnsupportedError(
                f"aotinductor compiles for the processor at hand ({resolved['simd']}), not for "
                f"{simd!r}",
                remedy="Leave the option simd out, and build on the target.",
            )
        return resolved | {"freezing": freezing}

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Compile to ``model.pt2``. Inductor's caches are gone afterwards."""
        if request.precision not in PRECISIONS.get(request.device, ()):
            raise base.UnsupportedError(
                f"aotinductor has no {request.precision} on {request.device}"
            )
        options = self.resolve_options(request.precision, request.options)
        compiler = find_compiler()
        if compiler is None:
            raise base.UnavailableError(
                f"there is no C++ compiler ({_wanted()})", remedy=COMPILER_REMEDY
            )
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.pt2")
        with failures("AOTInductor"), _own_caches() as folder:
            _export(request, artifact.path, compiler, options, folder)
        return artifact

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Link the compiled model in. Its loops take as many threads as OpenMP is set to."""
        self.resolve_runtime_options(options)
        require_one_array(self.name, options.output, options.spec)
        loading.require_file(artifact.path)
        notes = aoti_package.read_notes(artifact.path)
        aoti_package.check(artifact.path, notes, options)
        torch = runtime.start(options, self.extra)
        if options.device == "cuda":
            aoti_package.check_capability(torch, artifact.path, notes)
        loader = aoti_package.open_package(torch, artifact.path)
        return AotInductorSession(torch, loader, options)


class AotInductorSession(PyTorchSession):
    """A compiled model on one device; its weights lie outside of torch's allocator."""

    def __init__(self, torch: Any, loader: Any, options: base.LoadOptions) -> None:
        super().__init__(torch, options)
        self._loader = loader

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One forward; on an accelerator the copies there and back are part of it."""
        with self._torch.inference_mode():
            (output,) = self._loader.boxed_run([self._torch.from_numpy(images).to(self._device)])
            predictions: npt.NDArray[np.float32] = output.float().cpu().numpy()
        return predictions


def find_compiler() -> str | None:
    """Path of the C++ compiler that Inductor is to call, None where there is none."""
    return shutil.which(_wanted())


def _wanted() -> str:
    """Inductor's own choice (``torch/_inductor/config.py``, ``cpp.cxx``)."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def _services() -> dict[tuple[str, str], base.Service]:
    services = {
        ("cpu", "fp32"): base.Service(served=True),
        ("cpu", "bf16"): runtime.bf16_on_cpu(),
        ("cpu", "fp16"): base.Service.never(runtime.FP16_REASON, "Take bf16."),
        ("cpu", "int8"): base.Service.never(INT8_REASON),
    }
    if runtime.serves_cuda():
        missing = packages.missing(["triton"])
        service = base.Service(
            served=not missing,
            reason="Inductor needs Triton for a GPU" if missing else "",
            remedy="pip install triton" if missing else "",
        )
        services |= {("cuda", precision): service for precision in PRECISIONS["cuda"]}
        services["cuda", "int8"] = base.Service.never(INT8_REASON)
    return services


@contextlib.contextmanager
def _own_caches() -> Iterator[str]:
    """A folder for Inductor's caches, gone afterwards; yields its path.

    Importing Inductor already makes the folder that the variable names, by default a lasting one in
    the temporary folder. It reads the number of compiling processes then, too: without it a pool
    starts.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        changed = {"TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        kept = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            yield folder
        finally:
            for name, value in kept.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _export(
    request: base.ExportRequest, path: Path, compiler: str, options: Mapping[str, Any], folder: str
) -> None:
    """Trace the model and compile it into a package.

    ``dynamic_threads`` lets loops take the number of threads that is set at run time: the default
    burns in the number of the process that compiles.
    """
    import torch
    import torch._inductor
    from torch._inductor.utils import fresh_cache

    notes = {
        aoti_package.INPUT_SHAPE: ",".join(map(str, request.input_shape)),
        aoti_package.SIMD: str(options["simd"]),
    }
    settings = {
        "aot_inductor.metadata": notes,
        "compile_threads": 1,
        "cpp.cxx": (compiler,),
        "cpp.dynamic_threads": True,
        "freezing": options["freezing"],
        "max_autotune": False,
    }
    runtime.require_device(torch, request.device)
    with torch.no_grad(), quiet("torch"):
        model, (example, *_) = torch_program.prepared(request)
        program = torch.export.export(model, (example,))
        if request.device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, request.device)
        with fresh_cache(dir=folder):
            torch._inductor.aoti_compile_and_package(  # noqa: SLF001 - its public name
                program, package_path=str(path), inductor_configs=settings
            )
