"""What holds of every answer, on random tables of figures with intervals."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from deploymark.bench.choose.choose import choose
from deploymark.bench.matrix.constraints import parse_constraint
from deploymark.bench.records.answer import Answer
from deploymark.bench.records.run import CellResult, Run, RunInfo

INFO = RunInfo(
    matrix={},
    matrix_file="m.yaml",
    machine={},
    packages={},
    seed=0,
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:01:00Z",
)
NOWHERE = Path("/nowhere/run")

VALUES = st.integers(10, 300).map(lambda number: number / 10)
WIDTHS = st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, strategy, strategy, st.none())


@st.composite
def cells(draw: Callable[..., Any]) -> list[CellResult]:
    rows = []
    for index in range(draw(st.integers(1, 8))):
        latency, width = draw(maybe(VALUES)), draw(WIDTHS)
        tail, tail_width = draw(maybe(VALUES)), draw(WIDTHS)
        known = latency is not None
        rows.append(
            CellResult(
                cell=f"c{index}",
                status=draw(st.sampled_from(["ok", "ok", "ok", "ok", "crashed"])),
                reason="signal 11",
                model="m",
                variant=draw(st.sampled_from(["dense", "l1"])),
                precision=draw(st.sampled_from(["fp32", "int8"])),
                backend=draw(st.sampled_from(["torch", "onnxruntime", "openvino"])),
                latency_p50_ms=latency,
                latency_ci_low_ms=latency * (1 - width) if known else None,
                latency_ci_high_ms=latency * (1 + width) if known else None,
                latency_p95_ms=tail,
                latency_p95_ci_low_ms=None if tail is None else tail * (1 - tail_width),
                latency_p95_ci_high_ms=None if tail is None else tail * (1 + tail_width),
                artifact_bytes=draw(maybe(st.integers(1, 30).map(lambda mb: mb * 1_000_000))),
                peak_rss_bytes=draw(maybe(st.integers(1, 30).map(lambda mb: mb * 1_000_000))),
                map50_95=draw(maybe(st.integers(0, 100).map(lambda percent: percent / 100))),
                map_images=draw(st.sampled_from([100, 10_000, 1_000_000])),
            )
        )
    return rows


BOUNDS = st.one_of(
    st.integers(1, 40).map(lambda ms: ("latency_p95_ms <= {}", ms, "")),
    st.integers(1, 40).map(lambda ms: ("latency_p50_ms < {}", ms, "ms")),
    st.integers(1, 40).map(lambda mb: ("artifact_bytes <= {}", mb, "MB")),
    st.integers(0, 100).map(lambda percent: ("map50_95 >= {}", percent / 100, "")),
    st.integers(0, 20).map(lambda percent: ("map50_95 >= fp32 - {}", percent / 100, "")),
    st.integers(1, 30).map(lambda tenths: ("artifact_bytes <= fp32 * {}", tenths / 10, "")),
)
WHERE = st.lists(BOUNDS, max_size=3)
THEN = st.sampled_from([None, "peak_rss_bytes", "map50_95"])


def written(bounds: Sequence[tuple[str, float, str]]) -> list[str]:
    return [form.format(f"{number}{unit}") for form, number, unit in bounds]


def in_other_units(bounds: Sequence[tuple[str, float, str]]) -> list[str]:
    def other(form: str, number: float, unit: str) -> str:
        if unit == "MB":
            return form.format(f"{number * 1000} KB")
        if form.startswith("latency"):
            return form.format(f"{number * 1000} us")
        return form.format(f"{number}{unit}")

    return [other(*bound) for bound in bounds]


def ask(rows: Sequence[CellResult], where: list[str], then: str | None = None) -> Answer:
    return choose(Run(NOWHERE, INFO, tuple(rows)), where, then=then)


def told(answer: Answer) -> Any:
    return (
        answer.outcome,
        answer.winner,
        answer.leader,
        sorted(answer.tie),
        {cell.cell: cell.standing for cell in answer.cells},
    )


@given(cells(), WHERE, THEN)
def test_the_winner_meets_everything_and_is_dominated_by_none(
    rows: list[CellResult], bounds: list[Any], then: str | None
) -> None:
    answer = ask(rows, written(bounds), then)
    by_name = {row.cell: row for row in rows}
    for name in [*answer.tie, *([answer.winner] if answer.winner else [])]:
        assert by_name[name].status == "ok"
        entry = answer.cell(name)
        assert all(held.state == "met" for held in entry.constraints)
        assert entry.objective.measured
    if answer.winner is None:
        assert answer.outcome in {"undecided", "infeasible"}
        return
    best = answer.cell(answer.winner)
    for other in answer.cells:
        if any(held.state != "met" for held in other.constraints) or not other.objective.measured:
            continue
        clearly = (other.objective.high or 0.0) < (best.objective.low or 0.0)
        if not clearly:
            continue
        # settled by something else, within what makes no difference
        assert answer.outcome == "tie"
        assert other.cell in answer.tie
        assert (other.objective.value or 0.0) * 1.02 >= (best.objective.low or 0.0)
        size, own = by_name[other.cell].artifact_bytes, by_name[answer.winner].artifact_bytes
        worse_size = (own or 10**12) < (size or 10**12)
        assert worse_size or then is not None


@given(cells(), WHERE)
def test_what_was_not_measured_never_passes(rows: list[CellResult], bounds: list[Any]) -> None:
    answer = ask(rows, written(bounds))
    for row in rows:
        entry = answer.cell(row.cell)
        lacking = row.latency_p50_ms is None or any(
            getattr(row, parse_constraint(text).figure) is None for text in written(bounds)
        )
        if row.status != "ok" or lacking:
            assert entry.standing in {"failed", "violates", "not_measured"}


@given(cells(), WHERE, THEN, st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_the_units_matter(
    rows: list[CellResult], bounds: list[Any], then: str | None, random: Any
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert told(ask(rows, written(bounds), then)) == told(ask(shuffled, written(bounds), then))
    assert told(ask(rows, written(bounds), then)) == told(ask(rows, in_other_units(bounds), then))


@given(cells(), WHERE, THEN)
def test_every_rejection_is_explained(
    rows: list[CellResult], bounds: list[Any], then: str | None
) -> None:
    answer = ask(rows, written(bounds), then)
    assert sorted(cell.cell for cell in answer.cells) == sorted(row.cell for row in rows)
    assert all(cell.reason for cell in answer.cells)
    if answer.outcome == "undecided":
        assert answer.needed is not None
        assert answer.needed.reason
        assert answer.needed.cells


@given(cells(), WHERE)
def test_a_relaxation_is_enough_and_no_larger_than_needed(
    rows: list[CellResult], bounds: list[Any]
) -> None:
    where = written(bounds)
    answer = ask(rows, where)
    assume(answer.outcome == "infeasible")
    if answer.relaxation is None:
        assert all(cell.standing in {"failed", "not_measured", "violates"} for cell in answer.cells)
        return
    given_way = dict(answer.relaxation.bounds)
    after = ask(rows, [given_way.get(parse_constraint(text).text, text) for text in where])
    assert after.outcome != "infeasible"
    held = after.cell(answer.relaxation.cell).constraints
    assert all(item.state == "met" for item in held)
    for item, text in itertools.product(held, given_way.values()):
        if item.constraint == text:
            assert tightened(text).state(item.judged) != "met"


def tightened(text: str) -> Any:
    """The constraint with a bound tighter by one in its fourth digit."""
    found = parse_constraint(text)
    number = Decimal(repr(found.limit))
    step = Decimal(1).scaleb(number.adjusted() - 3) if number else Decimal("0.0001")
    return dataclasses.replace(found, limit=float(number - step if found.upper else number + step))
