"""The runtimes' own timing tools, as far as their wheels have one.

OpenVINO's ``benchmark_app``, IREE's ``iree-benchmark-module``, LiteRT's ``litert-benchmark`` (which
times its newer ``CompiledModel``), and PyTorch's timer, ``torch.utils.benchmark``. The wheels of
ONNX Runtime, ncnn, MNN, Paddle, ExecuTorch and OpenCV have none that takes a number of threads
(``onnxruntime_test`` of the first does not).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.backends import bare_loops
from tests.backends.bare_loops import plain_environment

TIMEOUT_S = 180.0

OPENVINO_PRECISIONS = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}
"""What ``-infer_precision`` says, as the bare loop where the processor has no float16."""

TORCH_TIMER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from torch.utils import benchmark
import bare_loops

job = json.loads(sys.argv[2])
images = np.load(job["images"])[0]
options = bare_loops.Options(job["threads"], job["precision"])
infer = bare_loops.LOOPS[job["backend"]](Path(job["file"]), options)
variables = {"infer": infer, "images": images}
timer = benchmark.Timer("infer(images)", globals=variables, num_threads=job["threads"])
timer.timeit(20)
print("median", timer.blocked_autorange(min_run_time=job["seconds"]).median * 1e3)
"""


@dataclasses.dataclass(frozen=True)
class ToolJob:
    """What a tool is to time. ``images`` is a float32 ``.npy`` of batches."""

    backend: str
    file: str
    threads: int
    precision: str
    height: int
    width: int
    images: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Tool:
    """One tool: its name, its command line, and the milliseconds that it printed."""

    name: str
    command: Callable[[ToolJob], list[str]]
    read_ms: Callable[[str], float]


def _beside_python(name: str) -> Path:
    """A script of this interpreter's environment."""
    return Path(sys.executable).with_name(name)


def _benchmark_app(job: ToolJob) -> list[str]:
    """Synchronous, one stream: what its ``-hint latency`` comes to, which it takes no threads with.

    https://docs.openvino.ai/2025/get-started/learn-openvino/openvino-samples/benchmark-tool.html
    """
    return [
        *(str(_beside_python("benchmark_app")), "-m", job.file, "-d", "CPU", "-api", "sync"),
        *("-hint", "none", "-nstreams", "1", "-nthreads", str(job.threads)),
        *("-infer_precision", OPENVINO_PRECISIONS[job.precision]),
        *("-t", str(max(1, round(job.seconds)))),
    ]


def _iree_benchmark(job: ToolJob) -> list[str]:
    """https://iree.dev/developers/performance/benchmarking/."""
    return [
        str(_beside_python("iree-benchmark-module")),
        f"--module={job.file}",
        "--device=local-task",
        "--function=main_graph",
        f"--input=1x3x{job.height}x{job.width}xf32=0.5",
        f"--task_topology_group_count={job.threads}",
        "--benchmark_repetitions=5",
        f"--benchmark_min_time={job.seconds / 5:.2f}s",
        "--benchmark_format=json",
    ]


def _litert_benchmark(job: ToolJob) -> list[str]:
    """Its ``--help`` is its documentation."""
    tool = str(_beside_python("litert-benchmark"))
    return [tool, "--model", job.file, "--num_threads", str(job.threads), "--num_runs", "100"]


def _torch_timer(job: ToolJob) -> list[str]:
    """https://docs.pytorch.org/tutorials/recipes/recipes/benchmark.html."""
    told = json.dumps(dataclasses.asdict(job))
    return [sys.executable, "-P", "-c", TORCH_TIMER, str(Path(bare_loops.__file__).parent), told]


def _printed(pattern: str) -> Callable[[str], float]:
    """Reads the number that a pattern finds."""

    def read(text: str) -> float:
        found = re.search(pattern, text, flags=re.IGNORECASE)
        if found is None:
            raise ValueError(f"no {pattern!r} in what it printed: {text[-500:]}")
        return float(found[1])

    return read


def _iree_median(text: str) -> float:
    """Milliseconds of the median over repetitions, from Google Benchmark's JSON."""
    rows = json.loads(text[text.index("{") :])["benchmarks"]
    row = next(row for row in rows if row.get("aggregate_name") == "median")
    return float(row["real_time"]) * {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}[row["time_unit"]]


_TORCH = Tool("torch.utils.benchmark", _torch_timer, _printed(r"median ([0-9.]+)"))

TOOLS: dict[str, Tool] = {
    "openvino": Tool("benchmark_app", _benchmark_app, _printed(r"Median:\s+([0-9.]+) ms")),
    "iree": Tool("iree-benchmark-module", _iree_benchmark, _iree_median),
    "litert": Tool("litert-benchmark", _litert_benchmark, _printed(r"median[^:\n]*:\s+([0-9.]+)")),
    "torch": _TORCH,
    "torchscript": _TORCH,
    "aotinductor": _TORCH,
}
"""By backend."""


def time_ms(job: ToolJob) -> float:
    """The median of an inference that the backend's tool tells, milliseconds.

    Raises RuntimeError where it fails or tells none.
    """
    tool = TOOLS[job.backend]
    command: Sequence[str] = tool.command(job)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
            env=plain_environment(os.environ),
        )
        return tool.read_ms(done.stdout)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip() or error.stdout.strip()).splitlines()
        last = said[-1] if said else ""
        raise RuntimeError(f"{tool.name} ended with {error.returncode}: {last}") from error
    except (OSError, ValueError, StopIteration, KeyError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{tool.name}: {error}") from error
