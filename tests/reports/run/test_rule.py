"""The rule in the page gives the answers of ``choose``: random runs, judged by both."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from deploymark.bench.choose.choices import choices_of
from deploymark.bench.choose.choose import decision_of
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.constraints import parse_constraints
from deploymark.bench.records.answer import Question
from deploymark.bench.records.run import CellResult, Run, RunInfo
from tests.reports.browser import bare_page, needs_browser

pytestmark = [pytest.mark.heavy, needs_browser]

RULE = Path(__file__).resolve().parents[3] / "reports" / "run" / "templates" / "rule.js"

RUNS = 400
"""Random runs of the test; the series that the rule was accepted by had 5000."""

OBJECTIVES = (
    ("latency_p50_ms", False),
    ("latency_p50_ms", False),
    ("peak_rss_bytes", False),
    ("artifact_bytes", False),
    ("map50_95", True),
    ("throughput_ips", True),
    ("agreement", True),
)

LIMITS = (
    "latency_p50_ms <= {ms}",
    "latency_p50_ms < {ms}ms",
    "latency_p50_ms <= fp32 * {share}",
    "peak_rss_bytes <= {mb}MB",
    "artifact_bytes <= fp32 * {share}",
    "map50_95 >= fp32 - {loss}",
    "map50_95 > 0.4",
    "agreement >= 0.9",
)


class Scores:
    """Stands where a run's boxes are drawn anew: resamples that the cells are given."""

    def __init__(self, drawn: dict[str, Any]) -> None:
        self.reasons: dict[str, str] = {}
        self._drawn = drawn

    def resampled(self, cell: CellResult, figure: str) -> Any:
        return self._drawn.get(cell.cell) if figure == "map50_95" else None

    def agreement(self, cell: CellResult) -> tuple[float, float] | None:
        return None if cell.agreement is None else (cell.agreement - 0.02, cell.agreement + 0.01)


def random_run(draw: np.random.Generator, folder: Path) -> RunTable:
    """A run of up to a dozen cells: alike, apart, failed, disturbed, measured once or often."""
    cells, launches, drawn = [], {}, {}
    spread, launched = draw.choice([0.002, 0.02, 0.2]), int(draw.integers(1, 7))
    for number in range(int(draw.integers(1, 13))):
        name = f"m-dense-{'fp32' if number == 0 else f'v{number}'}-b-cpu-320"
        level = float(draw.choice([5.0, 5.0, 5.05, 8.0, 20.0]))
        count = launched if draw.random() < 0.8 else int(draw.integers(1, launched + 1))
        records = [
            {
                "cell": name,
                "launch": launch,
                "status": "ok",
                "latency_ns": [float(level * 1e6 * np.exp(draw.normal(0, spread)))],
                "peak_rss_bytes": float(round(1e8 * np.exp(draw.normal(0, 0.01)))),
            }
            for launch in range(count)
        ]
        times = [record["latency_ns"][0] / 1e6 for record in records]
        score = round(float(draw.choice([0.5, 0.505, 0.49, 0.3])), 3)
        has_ends = draw.random() < 0.7
        cells.append(
            CellResult(
                cell=name,
                status="ok" if draw.random() < 0.85 else "crashed",
                reason="",
                model="m",
                variant="dense",
                precision="fp32" if number == 0 else "int8",
                backend="b",
                imgsz=320,
                disturbed=bool(draw.random() < 0.2),
                artifact_bytes=int(draw.choice([1000, 1000, 2000])),
                latency_p50_ms=float(np.median(times)),
                latency_ci_low_ms=min(times) * 0.99 if has_ends else None,
                latency_ci_high_ms=max(times) * 1.01 if has_ends else None,
                throughput_ips=1e3 / float(np.mean(times)),
                peak_rss_bytes=int(records[0]["peak_rss_bytes"]),
                map50_95=score if draw.random() < 0.9 else None,
                map_images=64,
                agreement=round(float(draw.uniform(0.85, 1)), 3) if number else None,
                agreement_reference="m-dense-fp32-b-cpu-320" if number else None,
                accuracy_doubt="a floor of scores" if draw.random() < 0.03 else None,
                stopped="out" if number and draw.random() < 0.1 else None,
            )
        )
        launches[name] = records
        if draw.random() < 0.7:
            # on the grid of 16 bits, as the page has them
            noise = np.clip(score + draw.normal(0, 0.01, 200), 0, 1)
            drawn[name] = np.rint(noise * 65535) / 65535
    info = RunInfo({}, "m.yaml", {}, {}, 0, "2026-01-01T00:00:00+00:00")
    table = RunTable(Run(folder, info, tuple(cells)), launches=launches)
    table.scores = Scores(drawn)  # type: ignore[assignment]
    return table


def random_question(draw: np.random.Generator) -> Question:
    objective, maximize = OBJECTIVES[draw.integers(len(OBJECTIVES))]
    where = [
        LIMITS[place].format(
            ms=draw.choice([5.0, 6.0, 9.0]),
            share=draw.choice([0.5, 1.0, 1.5]),
            mb=draw.choice([99, 101, 150]),
            loss=draw.choice([0.0, 0.01, 0.05]),
        )
        for place in draw.choice(len(LIMITS), int(draw.integers(0, 4)), replace=False)
    ]
    then = draw.choice([None, "artifact_bytes", "map50_95"])
    return Question(where, objective, maximize, then, float(draw.choice([0.0, 0.02, 0.2])))


def cases(count: int, folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What the page is given, and what ``choose`` says of it."""
    for seed in range(count):
        draw = np.random.default_rng(seed)
        table, question = random_run(draw, folder), random_question(draw)
        choices = dataclasses.asdict(choices_of(table, question))
        found = decision_of(table, question)
        asked = {
            **dataclasses.asdict(question),
            "own": False,
            "constraints": [dataclasses.asdict(c) for c in parse_constraints(question.where)],
        }
        expected = {
            "outcome": found.outcome,
            "leader": found.leader,
            "winner": found.winner,
            "tie": list(found.tie),
            "standings": dict(found.standings),
            "costs": {name: dataclasses.asdict(cost) for name, cost in found.costs.items()},
        }
        yield {"choices": choices, "question": asked}, expected


JUDGE = """(cases) => cases.map(({choices, question}) => {
  const {Table, decide} = deploymarkRule;
  const {outcome, leader, winner, tie, standings, costs} = decide(new Table(choices), question);
  return {outcome, leader, winner, tie, standings, costs};
})"""


def test_both_judge_alike(tmp_path: Path) -> None:
    given = list(cases(RUNS, tmp_path))
    with bare_page(RULE) as page:
        found = page.evaluate(JUDGE, json.loads(json.dumps([case for case, _ in given])))
    for seed, (judged, (_, expected)) in enumerate(zip(found, given, strict=True)):
        for key in ("outcome", "leader", "winner", "tie", "standings"):
            assert judged[key] == expected[key], (seed, key)
        assert judged["costs"].keys() == expected["costs"].keys(), seed
        for cell, cost in expected["costs"].items():
            for end in ("value", "low", "high"):
                assert judged["costs"][cell][end] == pytest.approx(cost[end], rel=1e-6), (
                    seed,
                    cell,
                )
    outcomes = {expected["outcome"] for _, expected in given}
    assert outcomes == {"best", "tie", "undecided", "infeasible"}, "the runs are of all kinds"


def test_special_functions() -> None:
    places = [0.5, 1.0, 1.5, 3.2, 10.0, 250.0]
    asked = [(f, e) for f in (1.0, 2.0, 3.7, 30.0, 400.0) for e in (0.05, 0.05 / 7, 1e-5)]
    with bare_page(RULE) as page:
        polygammas = page.evaluate(
            "(xs) => xs.map((x) => ['digamma', 'trigamma', 'tetragamma']"
            ".map((name) => deploymarkRule[name](x)))",
            places,
        )
        quantiles = page.evaluate(
            "(all) => all.map(([f, e]) => deploymarkRule.studentQuantile(f, e))", asked
        )
    for place, (zero, one, two) in zip(places, polygammas, strict=True):
        assert zero == pytest.approx(float(special.digamma(place)), rel=1e-9, abs=1e-9)
        assert one == pytest.approx(float(special.polygamma(1, place)), rel=1e-9)
        assert two == pytest.approx(float(special.polygamma(2, place)), rel=1e-8)
    for (freedom, error), value in zip(asked, quantiles, strict=True):
        assert value == pytest.approx(float(stats.t.isf(error / 2, freedom)), rel=1e-8)
