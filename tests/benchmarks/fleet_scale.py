"""What a fleet's own scheduling costs a launch: devices that sleep in simulated time.

``python tests/benchmarks/fleet_scale.py [DEVICES:LAUNCHES …]`` follows simulated devices with the
threads, rounds, records and file of a real run. Only the executor is another: it says at once what
a worker would have said, and how long it would have taken.

Prints, for each size, the launches, this process's processor time and wall time for one of them,
and how much memory it took at most. ``--samples`` is how many inferences a launch has.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import resource
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.backends.inputs import Size
from deploymark.bench.children.spawn import ChildEnd
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.data.images import PreparedImages
from deploymark.bench.fleet.fleet_run import FleetRun
from deploymark.bench.fleet.following import measure
from deploymark.bench.fleet.preflight import Member
from deploymark.bench.fleet.roster import Device
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.progress import Progress
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.run import LOGS_FOLDER, PREDICTIONS_FOLDER, RunInfo
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.planned_model import PlannedModel
from deploymark.bench.store import StoredArtifact

CELLS = 20
SIZES = ("20:2000", "200:4000", "200:20000")
CALM = {"wall_s": 1.0, "busy_s": 1.0, "steal_s": 0.0, "tick_error_s": 0.0}


class Simulated:
    """A device that sleeps in simulated time: ``clock_s`` is what its launches would have taken."""

    memory_way = None

    def __init__(self, name: str, samples: int) -> None:
        self.machine, self._samples = name, samples
        self._random = random.Random(name)  # noqa: S311 - no secret
        self.clock_s = 0.0

    def work(self, job: Mapping[str, Any], **_: Any) -> ChildEnd:
        middle_ns = self._random.lognormvariate(14.0, 0.05)
        times = [int(middle_ns * self._random.uniform(0.98, 1.04)) for _ in range(self._samples)]
        duration_s = 3.0 + sum(times) / 1e9
        self.clock_s += duration_s
        result = {"latency_ns": times, "e2e_ns": times[:10], "conditions": CALM, "boxes_s": 0.0}
        return ChildEnd(Outcome("ok"), result, duration_s)


class NobodyStops:
    """In a fleet's place: what fails is raised at the end."""

    def stop(self) -> None:
        """Nothing waits here."""


def member(name: str, launches: int, samples: int, folder: Path) -> Member:
    matrix = Matrix.model_validate(
        {
            "models": [{"path": "m.pt", "data": "d.yaml"}],
            "backends": ["onnxruntime"],
            "measure": {
                "launches": launches,
                "memory_launches": 0,
                "target_interval": None,
                "until": "all",
            },
        }
    )
    size = Size(64, 64)
    artifact = StoredArtifact(folder, "m.onnx", "", 1, 1, {}, {}, {}, 0.0)
    cells = tuple(
        PlannedCell(
            Cell(
                "m",
                f"v{number}",
                "fp32",
                "onnxruntime",
                "cpu",
                Size.of(64),
                1,
                1,
                measure=matrix.measure,
            ),
            threads=1,
            artifact=artifact,
        )
        for number in range(CELLS)
    )
    dataset = Dataset("d", ("0",), (), (), "none", "", "")
    images = PreparedImages(folder / "images.npy", ())
    model = PlannedModel("m", Path("m.pt"), "", dataset, {}, {size: images}, {}, {})
    plan = Plan(matrix, "m.yaml", "", cells, {"m": model}, (), {})
    remote: Any = Simulated(name, samples)
    return Member(Device(name, ("name", name), name), remote, {}, plan)


def simulate(devices: int, launches: int, samples: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fleet-scale-") as name:
        folder = Path(name)
        for part in (LOGS_FOLDER, PREDICTIONS_FOLDER):
            (folder / part).mkdir()
        each = launches // devices // CELLS
        members = [member(f"d{number:03}", each, samples, folder) for number in range(devices)]
        info = RunInfo(matrix={}, matrix_file="", machine={}, packages={}, seed=0, started="")
        run = FleetRun(members, info, folder, resumed=False)
        nobody: Any = NobodyStops()
        before = resource.getrusage(resource.RUSAGE_SELF)
        began, processor = time.perf_counter(), time.process_time()
        finished = measure(run, nobody, {}, {}, Progress(io.StringIO()))
        processor, wall = time.process_time() - processor, time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        made = sum(len(records) for item in finished for records in item.launches.values())
        simulated_s = sum(item.member.remote.clock_s for item in finished)  # type: ignore[attr-defined]
        own = processor - answering_s(made, samples)
        print(
            f"{devices:4} devices, {made:6} launches ({simulated_s / 3600 / devices:.1f} h each): "
            f"{own / made * 1e3:.2f} ms of processor time a launch, "
            f"{wall / made * 1e3:.2f} ms of wall time, "
            f"{(after.ru_maxrss - before.ru_maxrss) / 1024:.0f} MB more at most, "
            f"{(folder / 'launches.jsonl').stat().st_size / 1e6:.0f} MB on disk, "
            f"{threading.active_count()} threads left"
        )


def answering_s(launches: int, samples: int) -> float:
    """Processor time that the simulated devices take to make up so many answers."""
    device = Simulated("x", samples)
    began = time.process_time()
    for _ in range(200):
        device.work({})
    return (time.process_time() - began) / 200 * launches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--samples", type=int, default=20)
    chosen = parser.parse_args()
    for size in chosen.sizes:
        devices, launches = map(int, size.split(":"))
        process = multiprocessing.Process(  # of its own: its memory is its own
            target=simulate, args=(devices, launches, chosen.samples)
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
