"""The gate's acceptance trials: false alarms, power, and how long a verdict takes.

    DEPLOYMARK_CACHE=… python tests/benchmarks/gate_trials.py FOLDER [--minutes 60] [--show]

200 comparisons of an artifact with itself (``aa``), half of them while another process loads one
core for half of the time; 40 with an artifact that is 3 % slower and 40 with one 2 % slower. Real
onnxruntime and openvino cells of the embedded detector at 160 px, one thread and two. A trial is
one line of ``FOLDER/trials.jsonl``, and its single inferences one of ``FOLDER/samples.jsonl``
(``gate_peers.py`` reads those). The script may be stopped at any time and goes on from there, or
from a ``--record`` that was kept elsewhere: ``records/gate_trials.jsonl`` has those that the
documentation tells of. The slower artifacts are those of ``gate_slower.py`` in ``FOLDER/slower``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gate_load import half_loaded_core
from gate_slower import slower_artifact

from deploymark.backends.hardware import cpu
from deploymark.bench.gate.latency import GateCell, PairedCell, compare_latency
from deploymark.bench.gate.pairing import Measurable
from deploymark.bench.gate.sides import SideRequest, resolve_side
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.progress import Progress
from deploymark.bench.store import Store

THREADS = (1, 2)
AA_TRIALS = 200
SLOWER_TRIALS = 40
BUDGET_S = {"aa": 120.0, "slower-3": 60.0, "slower-2": 90.0}
SHARES = {"slower-3": 0.03, "slower-2": 0.02}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One comparison to be made."""

    number: int
    kind: str
    backend: str
    threads: int
    loaded: bool


def trials(backends: Sequence[str]) -> list[Trial]:
    """All trials, evenly over backends and threads, in an order that mixes everything."""
    configurations = [(backend, threads) for backend in backends for threads in THREADS]
    planned: list[Trial] = []
    for kind, count in (("aa", AA_TRIALS), *((kind, SLOWER_TRIALS) for kind in SHARES)):
        for index in range(count):
            backend, threads = configurations[index % len(configurations)]
            loaded = kind == "aa" and index // len(configurations) % 2 == 1
            planned.append(Trial(len(planned), kind, backend, threads, loaded))
    random.Random(0).shuffle(planned)  # noqa: S311 - no secret
    return planned


def cells(folder: Path) -> dict[str, Measurable]:
    """The FP32 cells at 160 px, by backend."""
    request = SideRequest(
        "default",
        imgsz=(160,),
        backends=("onnxruntime", "openvino"),
        precisions=("fp32",),
        select="dense",
    )
    with Progress() as progress:
        side = resolve_side(request, Store(), folder, progress)
    return {item.cell.backend: item.measurable for item in side.cells.values()}


def done(path: Path) -> list[dict[str, Any]]:
    """The trials made so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def append(path: Path, record: dict[str, Any]) -> None:
    """A line more."""
    with path.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


@contextlib.contextmanager
def load(on: bool) -> Iterator[None]:
    """The other process, where wanted."""
    if not on:
        yield
        return
    with half_loaded_core():
        yield


def flat(bursts: Sequence[Sequence[int]]) -> list[int]:
    """All inferences of a side in one list."""
    return [value for burst in bursts for value in burst]


def carry_out(
    trial: Trial, baseline: Measurable, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One comparison: what the record says of it, and its inferences."""
    baseline = dataclasses.replace(baseline, threads=trial.threads)
    candidate = baseline
    if trial.kind in SHARES:
        artifact = slower_artifact(
            baseline.artifact, trial.threads, SHARES[trial.kind], folder / "slower"
        )
        candidate = dataclasses.replace(baseline, artifact=artifact)
    settings = GateSettings(budget_s=BUDGET_S[trial.kind])
    name = f"{baseline.cell.id}-t{trial.threads}"
    with load(trial.loaded):
        found: PairedCell = compare_latency(
            [GateCell(name, baseline, candidate)],
            settings,
            seed=trial.number,
            logs=folder / "logs",
        )[name]
    decision = found.decision
    interval = decision.interval if decision else None
    records = [record for record in found.records if record.outcome.ok]
    about = {
        "trial": trial.number,
        "kind": trial.kind,
        "cell": name,
        "loaded": trial.loaded,
        "verdict": decision.verdict if decision else found.outcome.status,
        "seconds": round(found.seconds, 2),
        "pairs": len(records),
        "log_ratios": [round(ratio, 7) for ratio in found.log_ratios],
        "change": math.expm1(interval.mean) if interval else None,
        "low": math.expm1(interval.low) if interval else None,
        "high": math.expm1(interval.high) if interval else None,
        "bursts": settings.bursts,
        "copies": [record.copies for record in records],
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": cpu.detect().model,
    }
    samples = {
        "baseline_ns": [flat(record.latency_ns[0]) for record in records],
        "candidate_ns": [flat(record.latency_ns[1]) for record in records],
    }
    return about, samples


def show(records: Sequence[dict[str, Any]]) -> None:
    """The rates so far."""
    print("| trials | n | regressed | improved | unchanged | inconclusive | s, p50 | s, max |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        label = f"{record['kind']}{', loaded' if record['loaded'] else ''}"
        for name in (label, f"{label}, {record['cell']}"):
            groups.setdefault(name, []).append(record)
    for name, group in sorted(groups.items()):
        counts = [
            sum(record["verdict"] == verdict for record in group)
            for verdict in ("regressed", "improved", "unchanged", "inconclusive")
        ]
        seconds = sorted(record["seconds"] for record in group)
        print(
            f"| {name} | {len(group)} | {' | '.join(map(str, counts))} "
            f"| {seconds[len(seconds) // 2]:.0f} | {seconds[-1]:.0f} |"
        )


def main() -> None:
    """Go on with the trials for so many minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--kinds", default="aa,slower-3,slower-2")
    parser.add_argument("--show", action="store_true", help="print the rates and end")
    parser.add_argument("--record", type=Path, help="instead of FOLDER/trials.jsonl")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    path: Path = arguments.record or folder / "trials.jsonl"
    if not arguments.show:
        measured = cells(folder)
        known = {record["trial"] for record in done(path)}
        end = time.monotonic() + arguments.minutes * 60
        for trial in trials(sorted(measured)):
            if trial.number in known or trial.kind not in arguments.kinds.split(","):
                continue
            if time.monotonic() > end:
                break
            about, samples = carry_out(trial, measured[trial.backend], folder)
            append(folder / "samples.jsonl", {**about, **samples})
            append(path, about)
            print({key: value for key, value in about.items() if key != "log_ratios"}, flush=True)
    show(done(path))


if __name__ == "__main__":
    main()
