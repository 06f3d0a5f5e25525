"""How long the report of a run with many cells takes to write, to open and to answer.

Run by hand: ``python tests/benchmarks/report_cells.py [CELLS [FOLDER]]`` (2,000 cells). Makes a
synthetic run through the types of ``bench.records.run`` in FOLDER (default: a temporary one), then
starts a fresh interpreter that writes its report, and prints the seconds of that process, from
start to end. Where there is a Chromium, it adds the time until the table can be used and the
milliseconds that a sort, a filter and a search take, layout included.
"""

from __future__ import annotations

import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploymark.bench.records.files import dump_json
from deploymark.bench.records.launches import LAUNCHES_FILE
from deploymark.bench.records.outcomes import Status
from deploymark.bench.records.run import CellResult, RunInfo, write_cells, write_run_info

BACKENDS = {"onnxruntime": 1.0, "openvino": 0.72, "torch": 1.7, "ncnn": 1.1, "litert": 1.35}
PRECISIONS = {"fp32": (1.0, 0.0), "fp16": (0.8, 0.0005), "int8": (0.45, 0.012), "bf16": (0.9, 0.0)}
VARIANTS = {"dense": (1.0, 0.0), "l1_25": (0.94, 0.01), "l1_50": (0.85, 0.03), "qat": (1.0, 0.004)}
MODELS = {"yolo11n": (12.0, 0.39), "yolo11s": (31.0, 0.46)}
SIZES = (320, 640)
FAILURES: tuple[tuple[Status, str, str], ...] = (
    ("unsupported", "ncnn has no bf16 on cpu", ""),
    ("unavailable", "litert is not installed here", "pip install ai-edge-litert"),
    ("export_failed", "the exporter met an operator it does not know: GridSample", "Use opset 16."),
    ("crashed", "the worker ended with signal 11 (SIGSEGV)", "See the launch's log below logs/."),
    ("timeout", "no answer within 120 s", "Raise launch_timeout_s in the matrix."),
)


def synthetic_cells(count: int, seed: int = 7) -> list[CellResult]:
    """``count`` cells of a matrix whose figures behave like measured ones; a tenth has none."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    axes = itertools.cycle(itertools.product(MODELS, SIZES, VARIANTS, PRECISIONS, BACKENDS, (1, 2)))
    cells = []
    for index, axis in zip(range(count), axes, strict=False):
        cells.append(_cell(draw, index, *axis))
    return cells


def _cell(
    draw: random.Random,
    index: int,
    model: str,
    imgsz: int,
    variant: str,
    precision: str,
    backend: str,
    threads: int,
) -> CellResult:
    # The axes give 640 combinations: a larger count goes round, so the number keeps ids unique.
    name = f"{model}-{variant}-{precision}-{backend}-cpu-{imgsz}-t{threads}-{index:03d}"
    cell = CellResult(
        cell=name,
        status="ok",
        model=model,
        variant=variant,
        precision=precision,
        backend=backend,
        device="cpu",
        imgsz=imgsz,
        threads=threads,
    )
    if draw.random() < 0.1:
        cell.status, cell.reason, cell.remedy = draw.choice(FAILURES)
        return cell
    base_ms, accuracy = MODELS[model]
    factor, loss = PRECISIONS[precision]
    speed, pruned_loss = VARIANTS[variant]
    p50 = base_ms * factor * speed * BACKENDS[backend] * (imgsz / 320) ** 2 / threads**0.8
    p50 *= draw.lognormvariate(0.0, 0.04)
    cell.launches, cell.iterations = 5, 1500
    cell.latency_p50_ms, cell.latency_mean_ms = p50, p50 * 1.02
    cell.latency_p90_ms, cell.latency_p95_ms, cell.latency_p99_ms = p50 * 1.06, p50 * 1.1, p50 * 1.3
    half = draw.uniform(1.01, 1.05)
    cell.latency_ci_low_ms, cell.latency_ci_high_ms = p50 / half, p50 * half
    cell.interval_half_width = (half - 1 / half) / 2
    cell.warmup_iterations, cell.warmup_ms, cell.steady_launches = 25.0, p50 * 26, 5
    cell.disturbed_launches = draw.choice((0, 0, 0, 1))
    cell.cold_ms, cell.load_ms, cell.e2e_p50_ms = p50 * 3, 40 + p50, p50 + 6.5
    cell.throughput_ips = 1000 / p50
    cell.peak_rss_bytes, cell.model_rss_bytes = int(180e6 + p50 * 1e6), int(30e6 + p50 * 8e5)
    size = 10_700_000 if model == "yolo11n" else 37_900_000
    cell.artifact_bytes = int(size * {"int8": 0.29}.get(precision, 1.0))
    cell.artifact_gzip_bytes = int(cell.artifact_bytes * 0.9)
    cell.artifact_sha256 = f"{index:064x}"
    cell.map50_95 = accuracy - loss - pruned_loss + (0.03 if imgsz == 640 else 0.0)
    cell.map50_95 += draw.gauss(0.0, 0.002)
    cell.map50, cell.map_images = min(1.0, cell.map50_95 * 1.4), 100
    cell.params = 2_600_000 if model == "yolo11n" else 9_400_000
    cell.macs = int((3.25e9 if model == "yolo11n" else 10.8e9) * (imgsz / 640) ** 2)
    cell.executed_precision = "Convolution:f32 88, Multiply:f32 77" if precision == "fp32" else None
    cell.energy_reason = "no RAPL energy counter here: virtual machines and many boards have none"
    if draw.random() < 0.05:
        cell.warnings = ["The warm-up did not become steady within its time limit."]
    return cell


def synthetic_info() -> RunInfo:
    """A ``run.json`` for ``synthetic_cells``."""
    machine: dict[str, Any] = {
        "host": "bench-01",
        "cpu": "AMD EPYC 9B14",
        "cpu_flags": [f"flag{index}" for index in range(90)],
        "cores_physical": 2,
        "cores_usable": 2,
        "memory_bytes": 25_000_000_000,
        "gpus": [],
        "os": "Linux 6.8",
        "governor": None,
        "virtualization": "vm",
    }
    return RunInfo(
        matrix={"models": list(MODELS), "imgsz": list(SIZES), "backends": list(BACKENDS)},
        matrix_file="matrices/synthetic.yaml",
        machine=machine,
        packages={"onnxruntime": "1.32.0", "openvino": "2026.4.1", "numpy": "2.3.5"},
        seed=7,
        started="2026-11-23T18:02:11+00:00",
        finished="2026-11-23T20:31:40+00:00",
        exit_status=1,
        deploymark_version="0.1.0",
        git_commit="0123456789abcdef0123456789abcdef01234567",
        artifacts_built=310,
        artifacts_reused=140,
        datasets=[
            {
                "name": "street",
                "scored_images": 68,
                "calibration_images": 32,
                "calibration_source": "validation",
            }
        ],
        left_out=[
            {"cell": "yolo11s-qat-fp32-torch-cpu-640-t1", "reason": "QAT is for int8"},
        ],
        notes=["Synthetic figures: made to time the report, measured nowhere."],
    )


def synthetic_launches(cells: list[CellResult], seed: int = 7) -> Iterator[dict[str, Any]]:
    """The launches of the ok cells, with as many times as real ones have."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    for cell, launch in itertools.product(cells, range(5)):
        if cell.latency_p50_ms is None:
            continue
        p50_ns = cell.latency_p50_ms * 1e6
        first = [int(p50_ns * (1 + 1 / step) * draw.uniform(1, 1.05)) for step in range(1, 26)]
        yield {
            "cell": cell.cell,
            "launch": launch,
            "attempt": 0,
            "status": "ok",
            "cold_ms": cell.cold_ms,
            "warmup": {"iterations": 25, "seconds": 0.4, "steady": True, "first_ns": first},
            "latency_ns": [int(p50_ns * draw.uniform(0.98, 1.05)) for _ in range(200)],
            "disturbed": [],
        }


def write_synthetic_run(folder: Path, count: int) -> None:
    """A run directory of ``count`` synthetic cells."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = synthetic_cells(count)
    write_run_info(folder, synthetic_info())
    write_cells(folder, cells)
    lines = [dump_json(launch, indent=None) + "\n" for launch in synthetic_launches(cells)]
    (folder / LAUNCHES_FILE).write_text("".join(lines), encoding="utf-8")


def timed_report(folder: Path) -> tuple[float, Path]:
    """Seconds of a fresh interpreter that writes the report of ``folder``, and the report."""
    program = (
        "import sys; from pathlib import Path;"
        "from deploymark.reports.run.render import write_report;"
        "print(write_report(Path(sys.argv[1])))"
    )
    started = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - started, Path(answer.stdout.strip())


_ANSWERS = """() => {
  const timed = (act) => {
    const start = performance.now();
    act();
    document.body.getBoundingClientRect();
    return performance.now() - start;
  };
  const form = document.querySelector("form.filters");
  const set = (name, value) => timed(() => {
    form.elements[name].value = value;
    form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
  });
  const press = (key) => timed(() =>
    document.querySelector(`#cell-table th[data-key=${key}] button`).click());
  return {
    sort: press("latency_p50_ms"), "sort by name": press("cell"),
    filter: set("backend", "openvino"), search: set("find", "int8 640"),
  };
}"""


def print_answers(report: Path) -> None:
    """Open the page five times, print the medians of what it takes."""
    from tests.reports.browser import BROWSER

    if BROWSER is None:
        print("no Chromium here: the page was not opened")
        return
    from playwright.sync_api import sync_playwright

    found: list[dict[str, float]] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(
                "document.addEventListener('deploymark:table',"
                " () => { window.usable = performance.now(); })"
            )
            page.goto(report.as_uri(), wait_until="commit")
            page.wait_for_function("window.usable", timeout=60_000)
            answers = page.evaluate(_ANSWERS)
            found.append({"usable": page.evaluate("window.usable"), **answers})
            page.close()
        browser.close()
    for name in found[0]:
        print(f"{name}: {statistics.median(one[name] for one in found):.0f} ms")


def main() -> None:
    """Make the run, time its report three times, print what writing and opening take."""
    with tempfile.TemporaryDirectory() as scratch:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
        parent = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        folder = parent / "20261123T180211Z-bench-01-0123456"
        write_synthetic_run(folder, count)
        for _ in range(3):
            seconds, report = timed_report(folder)
            print(f"{seconds:.2f} s, {report.stat().st_size / 1e6:.2f} MB: {report}")
        print_answers(report)


if __name__ == "__main__":
    main()
