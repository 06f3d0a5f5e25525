from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploymark.bench.records.answer import Answer, AnswerCell, write_answer
from deploymark.bench.records.comparison import LATENCY
from deploymark.bench.records.outcomes import STATUSES
from deploymark.bench.records.run import CellResult, Run, RunInfo
from deploymark.bench.records.trends import (
    Change,
    History,
    MachineHistory,
    PastRun,
    Point,
    Series,
    save_history,
)
from deploymark.reports.run.since_previous import since_previous
from deploymark.reports.run.summary import MOST_CHARACTERS, render_summary
from deploymark.reports.run.summary_top import MOST_LINES, summary_top
from tests.reports.hostile import LONG, NASTY, hostile_record

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def history_of(*series: Series) -> History:
    runs = [PastRun(f"r{number}", f"2026-12-0{number + 1}T00:00:00+00:00") for number in range(3)]
    return History([MachineHistory("m", "a machine", {}, [], runs, list(series))], 0.01, 0.01, 3, 0)


def series_of(cell: str, *values: float, figure: str = LATENCY, reach: float = 0.01) -> Series:
    noisy = figure == LATENCY
    points = [
        Point(run, value, *((value - reach, value + reach) if noisy else ()))
        for run, value in enumerate(values)
    ]
    return Series(cell, figure, "torch", "fp32", figure != "map50_95", points)


def random_run(chance: random.Random, count: int, folder: Path) -> Run:
    """Cells of every status, with hostile and long texts, and figures that are missing."""
    folder.mkdir(parents=True)
    names = [f"{chance.choice(['m-', NASTY, LONG])}{index}" for index in range(count)]
    cells = []
    for name in names:
        latency = chance.choice([None, chance.uniform(1, 100)])
        cells.append(
            hostile_record(
                CellResult,
                lambda field, name=name: (
                    name if field == "cell" else chance.choice([NASTY, LONG, "a"])
                ),
                status=chance.choice(["ok", *STATUSES]),
                latency_p50_ms=latency,
                latency_ci_low_ms=None if latency is None else latency - 0.5,
                latency_ci_high_ms=None if latency is None else latency + 0.5,
                map50_95=chance.choice([None, chance.random()]),
                accuracy_doubt=chance.choice([None, NASTY]),
                disturbed=chance.random() < 0.5,
            )
        )
    info = hostile_record(RunInfo, lambda _: chance.choice([NASTY, LONG]), finished=None)
    if chance.random() < 0.8:
        named = chance.choice([None, *names])
        stands = [hostile_record(AnswerCell, lambda _, n=name: n) for name in names]
        outcome = "infeasible" if named is None else chance.choice(["best", "tie", "undecided"])
        answer = hostile_record(Answer, lambda _: LONG, cells=stands, outcome=outcome)
        write_answer(folder, dataclasses.replace(answer, winner=named, leader=named))
    if chance.random() < 0.8:
        change = Change(2, 1.0, 2.0, 1.0, 0.001, [LONG])
        changed = [series_of(name, 1.0, 1.0, chance.choice([1.0, 2.0])) for name in names]
        save_history(
            folder, history_of(*(dataclasses.replace(one, changes=[change]) for one in changed))
        )
    return Run(folder, info, tuple(cells))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 30, 500])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_reviewer_needs_stands_before_the_first_fold(
    count: int, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(f"{count} {seed}")  # noqa: S311 - a test that can be repeated
    run = random_run(chance, count, tmp_path / "run")
    text = render_summary(run)
    lines = text.splitlines()
    assert lines.index("<details>") <= MOST_LINES
    assert max(map(len, lines[: lines.index("<details>")])) < 6000
    assert len(text) <= MOST_CHARACTERS + 500
    assert lines.count("<details>") == lines.count("</details>")
    # GitHub reads Markdown in a fold only behind an empty line
    assert all(not lines[index + 1] for index, line in enumerate(lines) if "</summary>" in line)


def test_what_is_told_first(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> None:
    cells: Sequence[CellResult] = [
        make_cell("fast", latency_p50_ms=1.0, map50_95=0.3),
        make_cell("accurate", latency_p50_ms=9.0, map50_95=0.5),
        make_cell("beaten", latency_p50_ms=10.0, map50_95=0.4),
        make_failed("killed", "timeout"),
        *(make_failed(f"broken{n}", reason=f"the worker {n} ended") for n in range(5)),
    ]
    run = make_run(*cells)
    run.folder.mkdir()
    save_history(run.folder, history_of(series_of("fast", 2.0, 2.0, 1.0)))
    text = "\n".join(summary_top(run))
    assert text.startswith("# Deploymark: 3 of 9 cells ok\n")
    assert "| Pareto front: 2 cells |" in text
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == ["fast", "accurate"]
    assert (
        "Since the run before (r1, 2026-12-02 00:00:00 UTC): latency p50 better in 1 cell" in text
    )
    assert (
        "- ❌ 5 cells **crashed** (`broken0`, `broken1`, `broken2` and 2 more): the worker 0"
        in text
    )


def test_the_cell_to_ship_is_among_those_shown_of_a_long_front(
    make_run: MakeRun, make_cell: MakeCell
) -> None:
    names = [f"c{index}" for index in range(9)]
    run = make_run(
        *(
            make_cell(name, latency_p50_ms=1.0 + index, map50_95=0.1 + index / 100)
            for index, name in enumerate(names)
        )
    )
    run.folder.mkdir()
    stands = [hostile_record(AnswerCell, lambda _, n=name: n) for name in names]
    answer = hostile_record(Answer, lambda _: "text", cells=stands, outcome="best")
    write_answer(run.folder, dataclasses.replace(answer, winner="c6", leader="c6"))
    text = "\n".join(summary_top(run))
    assert "| Pareto front: 5 of 9 cells |" in text
    assert re.findall(r"^\| \*?\*?`(\w+)`", text, re.MULTILINE) == ["c0", "c1", "c2", "c6", "c8"]
    assert "| **`c6`** |" in text


def told(*series: Series) -> str:
    since = since_previous(history_of(*series))
    assert since is not None
    return since.sentences[0]


def test_a_latency_within_its_interval_or_the_drift_of_a_machine_did_not_change() -> None:
    nothing = "no latency changed beyond its interval"
    assert nothing in told(series_of("a", 1.0, 1.0, 1.08))
    assert nothing in told(series_of("a", 1.0, 1.0, 1.2, reach=0.5))
    assert nothing in told(series_of("a", 9.0, 1.0, 1.0))  # it changed a run before
    assert "worse in 1 cell (a +20.0 %)" in told(series_of("a", 1.0, 1.0, 1.2))


def test_better_and_worse_by_the_figure() -> None:
    sentence = told(
        series_of("a", 0.5, 0.5, 0.45, figure="map50_95"),
        series_of("b", 0.5, 0.5, 0.55, figure="map50_95"),
        series_of("c", 100.0, 100.0, 90.0, figure="artifact_bytes"),
    )
    assert (
        "mAP50-95 worse in 1 cell (a \N{MINUS SIGN}0.050), better in 1 cell (b +0.050)" in sentence
    )
    assert "artifact better in 1 cell (c \N{MINUS SIGN}10.0 %)" in sentence


def test_without_a_run_before_nothing_is_told() -> None:
    assert since_previous(None) is None
    machine = MachineHistory("m", "a", {}, [], [PastRun("r", "2026")], [])
    assert since_previous(History([machine], 0.01, 0.01, 3, 0)) is None
