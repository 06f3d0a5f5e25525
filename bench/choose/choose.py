"""``choose``: which cell of a run to ship, with the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import deploymark
from deploymark.bench.choose.needed import needed
from deploymark.bench.choose.question import (
    DEFAULT_INDIFFERENCE,
    better_low,
    make_question,
    stopped_cells,
)
from deploymark.bench.choose.reasons import natural, reason
from deploymark.bench.choose.relaxation import nearest
from deploymark.bench.choose.rule import ERROR, METHOD, Decision, Entrant, decide
from deploymark.bench.choose.table import RunTable
from deploymark.bench.matrix.constraints import parse_constraints
from deploymark.bench.matrix.figures import FIGURES
from deploymark.bench.records.answer import (
    STANDINGS,
    Answer,
    AnswerCell,
    Baseline,
    Estimate,
    Question,
)
from deploymark.bench.records.energy import MODELLED, OF_ENERGY
from deploymark.bench.records.machines import title
from deploymark.bench.records.run import Run, load_run

KEY_FIGURES = (
    "latency_p50_ms",
    "latency_p95_ms",
    "map50_95",
    "agreement",
    "artifact_bytes",
    "peak_rss_bytes",
)
"""Told of every cell, besides those that were asked for."""

BASELINE_FIGURES = ("latency_p50_ms", "artifact_bytes", "peak_rss_bytes", "map50_95", "agreement")
"""Told of the chosen cell beside FP32."""


def choose(
    run: Run | Path | str,
    where: Sequence[str] | None = None,
    minimize: str | None = None,
    *,
    maximize: str | None = None,
    then: str | None = None,
    indifference: float = DEFAULT_INDIFFERENCE,
) -> Answer:
    """Which cell of a run to ship.

    ``where`` are constraints (``"latency_p95_ms <= 20"``); without any given, cells must be as
    accurate as FP32 (``question.default_where``). The figure to ``minimize`` is
    ``latency_p50_ms`` unless it or one to ``maximize`` is named. Cells whose objectives surely
    differ by less than ``indifference`` (relative) are a tie, which the figure ``then`` settles.

    Raises BadInputError for a question that cannot be asked, or a folder that is no run.
    """
    found = run if isinstance(run, Run) else load_run(Path(run))
    question = make_question(
        found.cells,
        where,
        minimize=minimize,
        maximize=maximize,
        then=then,
        indifference=indifference,
    )
    return answer(RunTable(found), question)


def answer(table: RunTable, question: Question) -> Answer:
    """The answer to a question that was checked."""
    constraints = parse_constraints(question.where)
    entrants = _entrants(table, question)
    stopped = stopped_cells(table.run, question)
    decision = decision_of(table, question, without=stopped)
    decision = dataclasses.replace(
        decision,
        standings={
            **decision.standings,
            **{name: "violates" if entrants[name].violates else "behind" for name in stopped},
        },
    )
    return Answer(
        run=title(table.run.folder),
        question=question,
        outcome=decision.outcome,
        winner=decision.winner,
        leader=decision.leader,
        tie=list(decision.tie),
        settled_by=decision.settled_by,
        cells=_cells(table, entrants, decision, question, stopped),
        baselines=_baselines(table, decision.winner or decision.leader, question),
        needed=needed(table, entrants, constraints, decision, question)
        if decision.outcome == "undecided"
        else None,
        relaxation=nearest(list(entrants.values()), constraints)
        if decision.outcome == "infeasible"
        else None,
        notes=_notes(table, decision, question),
        method=METHOD,
        deploymark_version=deploymark.__version__,
    )


def decision_of(
    table: RunTable,
    question: Question,
    *,
    error: float = ERROR,
    without: Collection[str] = (),
    pending: Collection[str] = (),
) -> Decision:
    """What the rule finds of a run's cells but those ``without``; comparisons share ``error``.

    ``pending`` cells are not scored yet.
    """

    def cost(cell: str, leader: str, at: float) -> Estimate:
        one, other = (leader, cell) if question.maximize else (cell, leader)
        return table.ratio(one, other, question.objective, at)

    entrants = _entrants(table, question)
    return decide(
        [
            dataclasses.replace(one, pending=name in pending)
            for name, one in entrants.items()
            if name not in without
        ],
        cost,
        indifference=question.indifference,
        then=question.then or "",
        error=error,
    )


def reasons_of(table: RunTable, question: Question, decision: Decision) -> dict[str, str]:
    """Why each cell that was judged is what it is, a sentence."""
    entrants = _entrants(table, question)
    return {cell: reason(entrants[cell], decision, question) for cell in decision.standings}


def _entrants(table: RunTable, question: Question) -> dict[str, Entrant]:
    return {name: _entrant(table, name, question) for name in table.cells}


def _entrant(table: RunTable, name: str, question: Question) -> Entrant:
    row = table.cells[name]
    failed = "" if row.status == "ok" else f"{row.status}: {row.reason or 'no reason was recorded'}"
    then = None
    if question.then is not None and not failed:
        then = better_low(question.then, table.figure(name, question.then).value)
    return Entrant(
        cell=name,
        held=tuple(table.held(name, item) for item in parse_constraints(question.where)),
        objective=table.figure(name, question.objective),
        then=then,
        size=None if row.artifact_bytes is None else float(row.artifact_bytes),
        failed=failed,
    )


def _cells(
    table: RunTable,
    entrants: Mapping[str, Entrant],
    decision: Decision,
    question: Question,
    stopped: Mapping[str, str],
) -> list[AnswerCell]:
    """Every cell, the winner first, then by what became of it and by its objective."""
    sign = -1.0 if question.maximize else 1.0
    asked = [item.figure for item in parse_constraints(question.where)]
    named = dict.fromkeys((question.objective, *asked, question.then or "", *KEY_FIGURES))
    names = [name for name in named if name in FIGURES]

    def place(one: Entrant) -> tuple[int, float, str]:
        value = one.objective.value
        order = STANDINGS.index(decision.standings[one.cell])
        return order, float("inf") if value is None else sign * value, one.cell

    return [
        AnswerCell(
            cell=one.cell,
            standing=decision.standings[one.cell],
            reason=stopped.get(one.cell) or reason(one, decision, question),
            objective=one.objective,
            ratio=natural(decision.costs.get(one.cell, Estimate()), question),
            constraints=list(one.held),
            figures={
                name: estimate
                for name in names
                if (estimate := table.figure(one.cell, name)).measured
            },
            disturbed=table.cells[one.cell].disturbed,
        )
        for one in sorted(entrants.values(), key=place)
    ]


def _baselines(table: RunTable, chosen: str | None, question: Question) -> list[Baseline]:
    """The chosen cell beside the FP32 cell of its model, and beside that of its own backend."""
    if chosen is None:
        return []
    row = table.cells[chosen]
    own = table.cells.get(row.agreement_reference or "")
    same_backend = own.cell if own is not None and own.backend == row.backend else None
    names = [table.reference(chosen), same_backend]
    figures = dict.fromkeys((*BASELINE_FIGURES, question.objective))
    return [
        Baseline(
            cell=other,
            ratios=_measured(
                {n: table.ratio(chosen, other, n) for n in figures if FIGURES[n] != "image"}
            ),
            differences=_measured(
                {n: table.difference(chosen, other, n) for n in figures if FIGURES[n] == "image"}
            ),
        )
        for other in dict.fromkeys(names)
        if other is not None and other != chosen
    ]


def _measured(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: estimate for name, estimate in estimates.items() if estimate.measured}


def _of_energy(question: Question) -> bool:
    """Whether a question asks for a figure that is made of energy."""
    asked = [item.figure for item in parse_constraints(question.where)]
    return bool(OF_ENERGY & {question.objective, question.then or "", *asked})


def _notes(table: RunTable, decision: Decision, question: Question) -> list[str]:
    """What to doubt."""
    notes = []
    if _of_energy(question) and any(c.energy_kind == MODELLED for c in table.cells.values()):
        notes.append(
            "Energy is modelled from processor time, as the matrix asks: it was not measured."
        )
    info = table.run.info
    if info.finished is None:
        notes.append(
            "The run has no end: it is under way or was cut off, and cells may be missing."
        )
    contenders = [name for name, standing in decision.standings.items() if standing != "failed"]
    marked = sum(table.cells[name].disturbed for name in contenders)
    if marked:
        notes.append(
            f"{marked} of {len(contenders)} cells were disturbed by other load: their intervals "
            "are wide. What would mend it: deploymark doctor."
        )
    notes += [
        f"mAP has a wide interval, as its images cannot be drawn anew: {why}"
        for why in table.scores.reasons.values()
    ]
    return notes
