"""How often launching where it is undecided ends with the wrong cell, and what it saves.

    python tests/benchmarks/decision_simulation.py [--runs 400] [--cells 12]

Cells whose true latencies lie 0 to 60 % apart, most of them close together; launches scatter by 1
to 9 % around them, and all launches of a round share what the machine does. Wrong is a run that
names a winner which is truly slower than the best cell by more than the indifference; one that ends
undecided names none.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploymark.bench.choose.choose import decision_of
from deploymark.bench.choose.question import question_of, stopped_cells
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.launches import Record
from deploymark.bench.records.run import CellResult, Run, RunInfo
from deploymark.bench.run.decision import Decision, most_rounds
from deploymark.bench.run.schedule import StoppingRule, made, next_round
from deploymark.bench.score.aggregate import add_launches

INFERENCES = 20
INDIFFERENCE = 0.02
RULE = StoppingRule(least=3, most=6, target=0.01, budget_s=1e9, repeats=0)


def matrix() -> Matrix:
    """A matrix that asks for the fastest cell and no more."""
    return Matrix.model_validate(
        {
            "schema_version": 1,
            "name": "simulated",
            "models": [{"path": "m.pt", "data": "d.yaml"}],
            "backends": ["onnxruntime"],
            "choose": {"where": [], "indifference": INDIFFERENCE},
        }
    )


def run_of(asked: Matrix, launches: Mapping[str, Sequence[Record]], names: Sequence[str]) -> Run:
    """Results of made-up launches."""
    cells = []
    for name in names:
        cell = CellResult(cell=name, status="ok", model="m", precision="int8", backend=name)
        add_launches(cell, launches.get(name, ()))
        cells.append(cell)
    info = RunInfo(asked.model_dump(mode="json"), "m.yaml", {}, {}, 0, "2026-01-01T00:00:00Z")
    return Run(Path("nowhere"), info, tuple(cells))


def record(name: str, launch: int, milliseconds: float, draw: random.Random) -> Record:
    """One launch whose inferences take about so long."""
    times = [int(1e6 * milliseconds * draw.lognormvariate(0, 0.01)) for _ in range(INFERENCES)]
    nothing = dict.fromkeys(("peak_rss_bytes", "model_rss_bytes", "device_memory_bytes"))
    return {
        "cell": name, "launch": launch, "attempt": 0, "status": "ok", "disturbed": [],
        "duration_s": 1.0, "latency_ns": times, "e2e_ns": [], "e2e_reason": "", "cold_ms": 1.0,
        "load_ms": 1.0, "warmup": {"iterations": 15, "seconds": 0.1, "steady": True},
        "executed_precision": None, **nothing,
    }  # fmt: skip


def simulate(seed: int, count: int = 12) -> tuple[bool, bool, int, int]:
    """Whether a run named a wrong cell, or any; its launches; those of one that measures all."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    asked, spread = matrix(), draw.uniform(0.01, 0.09)
    true = {f"c{index}": 10 * (1 + 0.6 * draw.random() ** 2) for index in range(count)}
    launches: dict[str, list[Record]] = {name: [] for name in true}
    rules = dict.fromkeys(true, RULE)
    decision = Decision(asked, lambda seen, _: run_of(asked, seen, list(true)), most_rounds(rules))
    looked, drift = 0, [draw.gauss(0, 0.05) for _ in range(RULE.most)]
    while True:
        done = {name: [made(item) for item in records] for name, records in launches.items()}
        slots = next_round(rules, done, seed, decision.closed)
        if not slots:
            break
        if looked < slots[0].launch:
            looked += 1
            decision.look(looked, launches)
            continue
        for slot in slots:
            noise = draw.gauss(0, spread) + drift[slot.launch]
            took = true[slot.cell] * (1 + noise)
            launches[slot.cell].append(record(slot.cell, slot.launch, took, draw))
    run = run_of(asked, launches, list(true))
    for cell in run.cells:
        cell.stopped = decision.closed.get(cell.cell) or None
    question = question_of(asked.choose, run.cells)
    found = decision_of(
        RunTable(run, launches=launches), question, without=stopped_cells(run, question)
    )
    best = min(true.values())
    wrong = found.winner is not None and true[found.winner] > best * (1 + INDIFFERENCE)
    return wrong, found.winner is not None, sum(map(len, launches.values())), count * RULE.most


def main() -> None:
    """Simulate, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--cells", type=int, default=12)
    options = parser.parse_args()
    found = [simulate(seed, options.cells) for seed in range(options.runs)]
    wrong = sum(item[0] for item in found)
    named, launched, most = (sum(item[place] for item in found) for place in (1, 2, 3))
    print(
        f"{wrong} of {options.runs} runs named a cell that is slower than the best by more than "
        f"{INDIFFERENCE:.0%}, {named} named one; {1 - launched / most:.0%} fewer launches"
    )


if __name__ == "__main__":
    main()
