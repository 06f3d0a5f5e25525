"""How long the page takes to answer a question over many cells: while a slider moves.

    PYTHONPATH=. python tests/benchmarks/question_cells.py [--cells 2000] [--launches 4]

Random cells are written as ``choices.json`` has them, and judged by the page's own rule in a
browser: the first answer, and those of a limit that moves.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from deploymark.bench.choose.choices import choices_of
from deploymark.bench.choose.question import make_question
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.choices import choices_text
from deploymark.bench.records.run import CellResult, Run, RunInfo
from tests.reports.browser import bare_page

RULE = Path(__file__).resolve().parents[2] / "reports" / "run" / "templates" / "rule.js"

TIME = """([choices, objective, maximize]) => {
  const {Table, decide} = deploymarkRule;
  const table = new Table(choices);
  const took = [];
  for (let step = 0; step < 21; step += 1) {
    const limit = 10 + step;
    const most = {figure: 'latency_p95_ms', upper: true, strict: false, kind: 'figure'};
    const constraints = [{...most, limit}];
    const begun = performance.now();
    decide(table, {objective, maximize, then: null, indifference: 0.02, constraints, own: false});
    took.push(performance.now() - begun);
  }
  return took;
}"""


def random_table(cells: int, launches: int) -> RunTable:
    """Cells of all speeds, with their launches."""
    draw = np.random.default_rng(0)
    rows, records = [], {}
    for number in range(cells):
        name = f"m-v{number}-{'fp32' if number == 0 else 'int8'}-b-cpu-320"
        ms = 5 * float(np.exp(draw.exponential(0.7)))
        times = ms * np.exp(draw.normal(0, 0.03, (launches, 200)))
        records[name] = [
            {
                "cell": name,
                "launch": launch,
                "status": "ok",
                "latency_ns": [float(value) for value in 1e6 * times[launch]],
                "peak_rss_bytes": int(1e8 * np.exp(draw.normal(0, 0.01))),
            }
            for launch in range(launches)
        ]
        rows.append(
            CellResult(
                cell=name,
                status="ok",
                model="m",
                variant="dense" if number == 0 else f"v{number}",
                precision="fp32" if number == 0 else "int8",
                backend="b",
                imgsz=320,
                artifact_bytes=int(draw.integers(1_000_000, 9_000_000)),
                latency_p50_ms=float(np.median(times)),
                latency_p95_ms=float(np.quantile(times, 0.95)),
                peak_rss_bytes=100_000_000,
                map50_95=round(float(draw.uniform(0.3, 0.4)), 4),
                map_images=64,
            )
        )
    info = RunInfo({}, "m.yaml", {}, {}, 0, "2026-01-01T00:00:00+00:00")
    return RunTable(Run(Path(tempfile.gettempdir()), info, tuple(rows)), launches=records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--launches", type=int, default=4)
    arguments = parser.parse_args()
    table = random_table(arguments.cells, arguments.launches)
    begun = time.perf_counter()
    choices = choices_of(table, make_question(table.run.cells, None))
    took = time.perf_counter() - begun
    print(f"choices.json: {took:.2f} s, {len(choices_text(choices)) / 1e6:.2f} MB")
    with bare_page(RULE) as page:
        for objective in ("latency_p50_ms", "artifact_bytes", "peak_rss_bytes"):
            found = page.evaluate(TIME, [dataclasses.asdict(choices), objective, False])
            rest = sorted(found[1:])
            print(
                f"{objective}: first answer {found[0]:.0f} ms, then {rest[len(rest) // 2]:.0f} ms "
                f"(most {rest[-1]:.0f})"
            )


if __name__ == "__main__":
    main()
