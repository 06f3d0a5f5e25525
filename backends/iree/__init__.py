"""IREE: modules compiled ahead of time for one processor, FP32, run by its own virtual machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import mmap
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import base, exporting, loading, packages
from deploymark.backends.iree import compile as iree_compile
from deploymark.backends.iree.files import FACTS_FILE, Facts, read_facts, require_whole
from deploymark.backends.one_array import require_one_array
from deploymark.backends.onnx.graph import onnx_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FUNCTION = "main_graph"
"""The name of the graph that ``torch.onnx`` writes, and so of the module's function."""

DRIVERS = ("local-task", "local-sync")
"""Values of the option ``driver``, the default first: a pool of threads, and none at all."""

REMEDY = "pip install 'deploymark[iree]'"

ONE_PRECISION = "Deploymark compiles IREE modules in FP32 only"

DISPATCH = re.compile(r"dispatch_\d+_(.*)")
TYPES = re.compile(r"(?:_|\d|x)(bf16|[fi]\d+)")
"""Data types in a dispatch's name: ``conv_16x32x32x3x3x3_f32``, ``softmax_2x4x4xf32_store``."""

STARTED: set[int] = set()
"""The size of the pool of this process once it is started: IREE reads its flags once."""


LOADER = """\
from iree import runtime

runtime.flags.parse_flags("--task_topology_group_count=$threads")
file = str(Path(__file__).with_name("$entry"))
function = runtime.load_vm_flatbuffer_file(file, driver="local-task")["main_graph"]


def infer(images):
    return function(images).to_host()
"""


class IreeBackend(base.Backend):
    """Exports by way of ONNX and IREE's compiler, runs a VM module."""

    name = "iree"
    export_packages = ("torch", "ultralytics", "onnx", "iree-base-compiler")
    runtime_packages = ("iree-base-runtime",)
    runtime_modules = ("iree.runtime",)
    extra = "iree"
    loader = LOADER

    def probe(self) -> base.Probe:
        """FP32 on the processor."""
        version = packages.installed_version("iree-base-runtime")
        if version is None:
            return base.Probe.absent(self.name, REMEDY)
        missing = packages.missing(["torch", "onnx"])
        if packages.installed_version("iree-base-compiler") is None:
            missing = (*missing, "iree-base-compiler")
        services = {("cpu", "fp32"): base.Service(served=True)}
        services |= {
            ("cpu", precision): base.Service.never(ONE_PRECISION)
            for precision in ("fp16", "bf16", "int8")
        }
        return base.Probe.present(self.name, version, services, missing=missing, remedy=REMEDY)

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """``target_cpu``, ``target_features``, ``opt_level``; see ``iree_compile.resolve``."""
        del precision
        return iree_compile.resolve(options)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        """Write ``model.vmfb`` and ``model.json``; the same request gives the same bytes."""
        if request.precision != "fp32":
            raise base.UnsupportedError(f"iree has no {request.precision}: {ONE_PRECISION}")
        options = iree_compile.resolve(request.options)
        require_one_array(self.name, request.detector.output, request.detector.spec)
        artifact = base.Artifact(request.folder, "model.vmfb")
        with onnx_file(request) as source, exporting.failures("IREE's import of ONNX"):
            cpu, features = iree_compile.target_features(
                options["target_cpu"], options["target_features"]
            )
            iree_compile.compile_onnx(source, artifact.path, options)
        facts = Facts(request.input_shape, cpu, tuple(sorted(features)))
        text = json.dumps(dataclasses.asdict(facts), indent=1) + "\n"
        (request.folder / FACTS_FILE).write_text(text, encoding="utf-8")
        return artifact

    def runtime_choices(self, options: base.LoadOptions) -> Mapping[str, tuple[base.Setting, ...]]:
        """``driver``: ``local-task``, or ``local-sync`` for one thread.

        With ``local-task`` the calling thread waits for a pool of ``options.threads``, with
        ``local-sync`` it does the work.
        """
        return {"driver": DRIVERS if options.threads == 1 else DRIVERS[:1]}

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        """Map the module and start its threads.

        A module for another processor would end the process with an illegal instruction, so what
        it was compiled for is compared with what IREE finds in this one first.
        """
        driver = self.resolve_runtime_options(options)["driver"]
        require_one_array(self.name, options.output, options.spec)
        facts = read_facts(artifact)
        loading.require_cpu(self.name, options)
        runtime = loading.runtime("iree.runtime", REMEDY)
        require_whole(artifact.path)
        loading.require_shape(artifact.path, facts.input_shape, options)
        _require_processor(artifact.path, facts)
        if driver == "local-task":
            _start_threads(runtime, options.threads)
        device = runtime.get_driver(driver).create_default_device()
        instance = runtime.VmInstance()
        try:
            with artifact.path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            module = runtime.VmModule.wrap_buffer(instance, mapped, close_buffer=True)
            hal = runtime.create_hal_module(instance, device)
            context = runtime.VmContext(instance, [hal, module])
            function = runtime.FunctionInvoker(context, device, module.lookup_function(FUNCTION))
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            raise base.LoadError(
                f"IREE refuses {artifact.path}: {type(error).__name__}: {first}"
            ) from error
        return IreeSession(function, device, module, artifact.path, options)


class IreeSession(base.Session):
    """One function of a module in a context of its own."""

    def __init__(
        self, function: Any, device: Any, module: Any, path: Path, options: base.LoadOptions
    ) -> None:
        super().__init__(options.input_shape)
        import iree.runtime

        self._function = function
        self._device = device
        self._module = module
        self._to_device = iree.runtime.asdevicearray
        self._path = path
        self._output: npt.NDArray[np.float32] | None = None

    def __del__(self) -> None:
        """Let go in this order: function, device, module.

        The device waits for its threads without letting Python run. One of them may be the last to
        hold the module, and needs Python to close its file: a deadlock, seen in one launch of ten.
        """
        self._function = None
        self._device = None
        self._module = None

    def infer_impl(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One call; the input is copied to a buffer of the device, the output from one.

        An array that maps the device's memory and outlives it ends the process with a crash.
        """
        import numpy as np

        output = self._function(self._to_device(self._device, images)).to_host()
        if self._output is None:
            self._output = np.empty(output.shape, np.float32)
        np.copyto(self._output, output)
        return self._output

    def executed_precision(self) -> base.ExecutedPrecision:
        """Dispatches by type, from the profile of one inference by the runtime's own tools.

        Names are the compiler's, made of a dispatch's main operation and its types:
        ``conv_16x32x32x3x3x3_f32``. A 1 x 1 convolution has become a ``matmul_like`` by then.
        """
        tools = _tools()
        shape = "x".join(map(str, self.input_shape))
        with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
            profile = Path(folder, "profile.ireeprof")
            ran = _tool(
                tools / "iree-run-module",
                f"--module={self._path}",
                "--device=local-sync",
                f"--function={FUNCTION}",
                f"--input={shape}xf32=0",
                f"--output=@{Path(folder, 'output.npy')}",
                "--device_profiling_mode=host-execution",
                f"--device_profiling_output={profile}",
            )
            told = ran and _tool(tools / "iree-profile", "dispatch", "--format=jsonl", str(profile))
        if not told:
            return base.ExecutedPrecision(reason="IREE's profiling tools do not run here")
        return base.ExecutedPrecision(layers(told), source="profile of the dispatches")


def layers(profile: str) -> Mapping[str, int]:
    """Executed dispatches by operation and type, from ``iree-profile dispatch --format=jsonl``.

    The type is that of the first operand. A name without one (``slow_memcpy``) moves data, and
    counts under ``-``.
    """
    counts: dict[str, int] = {}
    for line in profile.splitlines():
        row = json.loads(line)
        found = DISPATCH.search(row.get("key", ""))
        if found is None:
            continue
        operation = re.split(r"_(?=\d)", found[1])[0]
        types = TYPES.findall(found[1])
        key = f"{operation}:{types[0] if types else '-'}"
        counts[key] = counts.get(key, 0) + int(row["count"])
    return dict(sorted(counts.items()))


def _require_processor(path: Path, facts: Facts) -> None:
    """Raise UnavailableError if this processor lacks what the module was compiled for.

    Told by ``iree-cpuinfo``, which lists the features that matter and uses LLVM's names; where it
    does not run, or on other processors than the module's, nothing is known.
    """
    rows = [line.split() for line in _tool(_tools() / "iree-cpuinfo").splitlines()]
    absent = {row[0] for row in rows if row[1:] == ["0"]}
    lacking = sorted(absent.intersection(facts.features))
    if lacking:
        raise base.UnavailableError(
            f"{path} was compiled for {facts.target_cpu}, and this processor lacks its "
            f"{', '.join(lacking)}",
            remedy="Export it with the option target_cpu: x86-64-v3, or that of the device.",
        )


def _start_threads(runtime: Any, threads: int) -> None:
    """Set the size of the pool, which is one for the process. Raises UnavailableError."""
    if STARTED - {threads}:
        raise base.UnavailableError(
            f"IREE's pool of this process has {min(STARTED)} threads already, not {threads}",
            remedy="Load it in a process of its own.",
        )
    runtime.flags.parse_flags(
        f"--task_topology_group_count={threads}",
        # IREE's own default: waiting workers sleep at once.
        "--task_worker_spin_us=0",
    )
    STARTED.add(threads)


def _tools() -> Path:
    """The folder of the runtime's command line tools."""
    spec = importlib.util.find_spec("iree._runtime_libs")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(folders[0]) if folders else Path()


def _tool(*command: str | Path) -> str:
    """What a tool prints; empty where it is not there or fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
