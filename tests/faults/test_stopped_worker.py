"""A worker that is stopped while it times: no sample of its pause is a figure without a word."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.interrupted import MATRIX, Place, launches_of, wait_until

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

STOPPED_S = 2.0

LONG = MATRIX.replace("latency_s: 0.1", "latency_s: 5").replace(
    "max_iterations: 20", "max_iterations: 1000000"
)
# whatever else the machine does is not meant here
LONG = LONG.replace(
    "validity: {enabled: false}  # the machine of a test is as busy as it is",
    "validity: {repeats: 0, max_foreign_load_cores: null, max_steal_share: null,\n"
    "  max_run_queue_wait_share: null, max_quota_share: null}",
)


def _cpu_s(process: int) -> float:
    """Processor time of a process: utime and stime of /proc/PID/stat (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _timing(place: Place, run: subprocess.Popen[str]) -> int:
    """The worker's process, a good second into its timing."""
    found: list[tuple[int, float]] = []

    def is_loaded() -> bool:
        assert run.poll() is None
        if not any(folder.joinpath("launches.jsonl").exists() for folder in place.runs()):
            return False  # workers answer questions before
        for process in place.processes():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{process}/cmdline").read_bytes()
                maps = Path(f"/proc/{process}/maps").read_text()
                if b"bench.worker.main" in command and "onnxruntime_pybind11_state" in maps:
                    found.append((process, _cpu_s(process)))
                    return True
        return False

    assert wait_until(is_loaded)
    worker, before = found[0]
    assert wait_until(lambda: _cpu_s(worker) > before + 1.5)
    return worker


def test_the_pause_of_a_stopped_worker_is_set_aside(tmp_path: Path) -> None:
    place = Place(tmp_path, launches=1, matrix=LONG)
    process = place.start("run", "m.yaml")
    worker = _timing(place, process)
    os.kill(worker, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(worker, signal.SIGCONT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (record,) = launches_of(place.latest)
    pause_ns = 0.9e9 * STOPPED_S
    assert record["quiet_bursts"] < record["bursts"]
    assert max(record["set_aside_ns"]) > pause_ns
    assert max(record["latency_ns"]) < pause_ns
