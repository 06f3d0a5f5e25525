from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.records.answer import (
    Answer,
    AnswerCell,
    Baseline,
    Estimate,
    Held,
    Needed,
    Question,
    Relaxation,
    State,
    write_answer,
)
from deploymark.reports.run import render
from deploymark.reports.run.answer import answer_lines, answer_view
from deploymark.reports.run.summary import render_summary
from tests.reports.conftest import MakeCell, MakeRun

WHERE = "map50_95 >= fp32 - 0.01"


def entry(cell: str, standing: Any, reason: str, latency_ms: float | None = 5.0) -> AnswerCell:
    known = latency_ms is not None
    low, high = (latency_ms * 0.99, latency_ms * 1.01) if known else (None, None)
    objective = Estimate(latency_ms, low, high)
    score = Estimate(0.72, 0.71, 0.73)
    change = Estimate(-0.001, -0.007, 0.006)
    state: State = "not_met" if standing == "violates" else "met"
    held = Held(WHERE, "map50_95", "difference", state, score, change, -0.01, "fp32", "0.720")
    return AnswerCell(cell, standing, reason, objective, Estimate(), [held], {})


def answer(**values: Any) -> Answer:
    known: dict[str, Any] = {
        "run": "r",
        "question": Question([WHERE], "latency_p50_ms", default=True),
        "outcome": "best",
        "winner": "int8",
        "leader": "int8",
        "tie": [],
        "settled_by": "",
        "cells": [
            entry("int8", "winner", "the best"),
            entry("bf16", "behind", "80 % slower than int8", 9.0),
            entry("one", "violates", "not met: 0.6"),
            entry("two", "violates", "not met: 0.6"),
            entry("three", "failed", "crashed: <signal> 11", None),
        ],
        "baselines": [
            Baseline(
                "fp32",
                {
                    "latency_p50_ms": Estimate(0.25, 0.2, 0.3),
                    "artifact_bytes": Estimate(0.25, 0.25, 0.25),
                },
                {"map50_95": Estimate(-0.001, -0.007, 0.006), "agreement": Estimate(0.9)},
            )
        ],
        "notes": ["It was noisy."],
    }
    return Answer(**(known | values))


def test_the_recommendation_and_its_evidence() -> None:
    view = answer_view(answer())
    assert view.headline == (
        "Ship int8: latency p50 5.00 ms [4.95, 5.05], the best of 2 of 5 cells that meet what was "
        "asked."
    )
    beside = (
        "Beside FP32 (fp32): 4.00 [3.33, 5.00] times as fast, artifact \N{MINUS SIGN}75 %, "
        "mAP50-95 \N{MINUS SIGN}0.001 [\N{MINUS SIGN}0.007, +0.006]."
    )
    assert view.evidence == [f"{WHERE}: met, with 0.720.", beside]
    assert view.asked.startswith("Nothing else was asked for, so: the smallest latency p50 where")
    assert view.runners_up == [(["bf16"], "80 % slower than int8")]
    assert view.not_considered == [
        (["one", "two"], "not met: 0.6"),
        (["three"], "crashed: <signal> 11"),
    ]
    assert answer_lines(answer())[0] == view.headline


@pytest.mark.parametrize(
    ("ratio", "told"),
    [
        (Estimate(0.9, 0.8, 1.1), "0.900 [0.800, 1.10] times the latency, neither clearly faster"),
        (Estimate(2.0, 1.8, 2.2), "2.00 [1.80, 2.20] times as slow"),
    ],
)
def test_what_is_no_faster_is_not_told_to_be(ratio: Estimate, told: str) -> None:
    baseline = Baseline("fp32", {"latency_p50_ms": ratio}, {})
    assert told in answer_view(answer(baselines=[baseline])).evidence[-1]


def test_what_binds_is_told() -> None:
    cells = answer().cells
    size = Estimate(3.9e6, 3.9e6, 3.9e6)
    tight = Held("size <= 4MB", "artifact_bytes", "figure", "met", size, size, 4e6, None, "3.9 MB")
    wide = dataclasses.replace(tight, constraint="size <= 9MB", limit=9e6)
    first = dataclasses.replace(cells[0], constraints=[wide, tight])
    faster = entry("fast", "violates", "not met: 0.6", 3.0)
    view = answer_view(answer(cells=[first, *cells[1:], faster]))
    assert "Closest to its limit: size <= 4MB." in view.evidence
    assert view.evidence[3] == (
        f"Kept out with a better figure: fast, latency p50 3.00 ms [2.97, 3.03], by {WHERE} "
        "(0.720)."
    )
    asked = Question([WHERE], "latency_p50_ms", maximize=True)
    kept = answer_view(answer(cells=[first, faster], question=asked)).evidence
    assert not any(text.startswith("Kept out") for text in kept)


def test_runners_up_are_rows_with_ratios() -> None:
    cells = answer().cells
    behind = dataclasses.replace(cells[1], ratio=Estimate(1.8, 1.7, 1.9))
    (row,) = answer_view(answer(cells=[cells[0], behind])).next_cells
    assert (row.cell, row.figure) == ("bf16", "9.00 ms [8.91, 9.09]")
    assert (row.ratio, row.reason) == ("1.80 [1.70, 1.90] times", "80 % slower than int8")


def test_a_tie_says_what_settles_it() -> None:
    found = answer(outcome="tie", tie=["int8", "bf16"], settled_by="artifact_bytes")
    assert answer_view(found).headline.endswith(
        "a tie with 1 other cell that the smaller artifact settles."
    )


def test_undecided_says_what_would_decide() -> None:
    needed = Needed(["int8"], "about 12 launches of each would decide", 12, None, "deploymark run")
    view = answer_view(answer(outcome="undecided", winner=None, needed=needed))
    assert view.headline.startswith("Undecided: int8 leads with latency p50 5.00 ms")
    assert view.needed == "About 12 launches of each would decide."
    assert view.command == "deploymark run"


def test_infeasible_says_what_would_have_to_give_way() -> None:
    none: dict[str, Any] = {"outcome": "infeasible", "winner": None, "leader": None}
    bounds = [("artifact_bytes <= 2MB", "artifact_bytes <= 3.1 MB")]
    found = answer(**none, baselines=[], relaxation=Relaxation("int8", bounds))
    assert answer_view(found).headline == (
        "No cell meets what was asked. The nearest is int8: it would do if artifact_bytes <= 2MB "
        "gave way to artifact_bytes <= 3.1 MB."
    )
    nothing = answer_view(answer(**none, baselines=[]))
    assert nothing.headline.startswith("Nothing to recommend")


def test_the_summary_begins_with_it(make_run: MakeRun, make_cell: MakeCell) -> None:
    run = make_run(make_cell())
    assert "Ship int8" not in render_summary(run)
    run.folder.mkdir(parents=True)
    write_answer(run.folder, answer())
    lines = render_summary(run).splitlines()
    assert lines[0].startswith("# Deploymark")
    assert lines[2].startswith("**Ship int8:")


def test_the_report_begins_with_it(
    make_run: MakeRun,
    make_cell: MakeCell,
    quick_bundle: type[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "VegaBundle", quick_bundle)
    run = make_run(make_cell())
    run.folder.mkdir(parents=True)
    write_answer(run.folder, dataclasses.replace(answer(), run="<b>"))
    page = render.render_report(run)
    assert page.index("Ship int8:") < page.index('class="machine"')
    assert "crashed: &lt;signal&gt; 11" in page


def test_a_report_without_an_answer_has_no_such_section(
    make_run: MakeRun,
    make_cell: MakeCell,
    quick_bundle: type[Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(render, "VegaBundle", quick_bundle)
    assert 'id="answer"' not in render.render_report(make_run(make_cell()))
