"""Whether a launch through a fleet measures what a local one does: both on this host, in turns.

``python tests/benchmarks/fleet_agreement.py BUNDLE [-k EXPR] [--pairs N]`` starts a scheduler and a
plain ``dask worker`` (with its nanny and profiler, and a worker without them), and launches each
cell here and there in pairs of random order. Prints, for each cell, the ratio of the medians
(fleet / local) over the launches, with its 95 % interval from the pairs.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploymark.bench.fleet.preflight import gather
from deploymark.bench.fleet.roster import Fleet as Devices
from deploymark.bench.progress import Progress
from deploymark.bench.run import bundled
from deploymark.bench.run.executor import HERE, Executor
from deploymark.bench.run.launch import LaunchTask, launch
from deploymark.bench.run.rounds import E2E_IMAGES
from deploymark.bench.run.schedule import LaunchSlot
from deploymark.bench.store import Store
from tests.fleets import Fleet


def median_ms(task: LaunchTask, log: Path, executor: Executor) -> float:
    record = launch(task, log, executor=executor)
    assert record["status"] == "ok", record["reason"]
    return statistics.median(record["latency_ns"]) / 1e6


def told(pairs: list[tuple[float, float]]) -> str:
    """The ratio of the second to the first of the pairs."""
    logs = [math.log(there / here) for here, there in pairs]
    middle = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(middle - half), math.exp(middle + half)
    return (
        f"{statistics.median(here for here, _ in pairs):.3f} ms here, "
        f"{statistics.median(there for _, there in pairs):.3f} ms there: "
        f"ratio {math.exp(middle):.4f} ({low:.4f} to {high:.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("-k", dest="select", default="")
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-agreement-") as name, Progress() as progress:
        folder = Path(name)
        fleet = Fleet(folder)
        fleet.scheduler()
        fleet.worker("quiet")
        fleet.start(
            "plain", "distributed.cli.dask_worker", fleet.address, "--nthreads", "1",
            "--resources", "deploymark=1", "--name", "plain", profiled=True,
        )  # fmt: skip
        time.sleep(6)
        try:
            bundle = bundled.unpack(given.bundle, Store(), progress)
            plan = bundled.plan_of(bundle, select=given.select)
            with Devices(fleet.address) as devices:
                members = gather(devices, bundle, given.select, 0.0, print)
                places = {member.name: member.remote for member in members}
                order = random.Random(0)  # noqa: S311 - no secret
                for cell in plan.cells:
                    if cell.outcome is not None or cell.artifact is None:
                        continue
                    model = plan.models[cell.cell.model]
                    task = LaunchTask(
                        slot=LaunchSlot(cell.id, 0),
                        cell=cell.cell,
                        threads=cell.threads,
                        artifact=cell.artifact,
                        images=model.scored[cell.cell.imgsz].path,
                        e2e_images=[image.path for image in model.dataset.scored[:E2E_IMAGES]],
                        predictions=None,
                        inspect=False,
                        burst_limits=plan.matrix.validity.burst_limits(),
                    )
                    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
                    for _ in range(given.pairs):
                        sides: list[tuple[str, Executor]] = [("here", HERE), *places.items()]
                        order.shuffle(sides)
                        found = {side: median_ms(task, folder / "log", by) for side, by in sides}
                        for side in places:
                            pairs[side].append((found["here"], found[side]))
                    for side, of_side in pairs.items():
                        print(f"{cell.id} {side}: {told(of_side)}", flush=True)
        finally:
            fleet.end()


if __name__ == "__main__":
    main()
