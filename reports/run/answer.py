"""The answer in words: what to ship, on what evidence, what came next and what was not considered.

Plain text, for the terminal, ``summary.md`` and ``report.html`` alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deploymark.bench.records.answer import Answer, AnswerCell, Baseline, Estimate, Standing
from deploymark.reports.page import figure_words, figures
from deploymark.reports.run.binding import closest, kept_out

_RUNNERS_UP: tuple[Standing, ...] = ("tie", "open", "behind")
_NOT_CONSIDERED: tuple[Standing, ...] = ("violates", "not_measured", "failed")

_SETTLED = {
    "artifact_bytes": "the smaller artifact",
    "objective": "the better figure",
    "cell": "the order of names",
}


SHOWN = 5
"""Runners-up in the short table; the rest are told by reason."""


@dataclasses.dataclass(frozen=True)
class RunnerUp:
    """A row of the short table: ``figure`` and ``ratio`` (to the leader) with their intervals."""

    cell: str
    figure: str
    ratio: str
    reason: str


@dataclasses.dataclass(frozen=True)
class AnswerView:
    """All that is told of an answer.

    ``headline`` is the recommendation, a sentence, and ``asked`` the question; ``evidence`` and
    ``notes`` are sentences. ``runners_up`` and ``not_considered`` are cells with the reason of
    each, the same reason once: (cells, reason). ``needed`` says what would decide an open answer,
    ``command`` makes it. ``next_cells`` are the first of the runners-up as rows, ``figure`` the
    title of the objective.
    """

    headline: str
    asked: str
    evidence: list[str]
    runners_up: list[tuple[list[str], str]]
    not_considered: list[tuple[list[str], str]]
    notes: list[str]
    needed: str = ""
    command: str = ""
    figure: str = ""
    next_cells: list[RunnerUp] = dataclasses.field(default_factory=list)


def answer_view(answer: Answer) -> AnswerView:
    """What is told of an answer, in order."""
    named = answer.winner or answer.leader
    evidence = [_beside(baseline) for baseline in answer.baselines]
    if named is not None:
        evidence = [*_constraints(answer.cell(named)), *_binding(answer, named), *evidence]
    came_next = [c for c in answer.cells if c.standing in _RUNNERS_UP and c.cell != named]
    return AnswerView(
        headline=headline(answer),
        asked=_asked(answer),
        evidence=[text for text in evidence if text],
        runners_up=_by_reason(came_next),
        not_considered=_by_reason([c for c in answer.cells if c.standing in _NOT_CONSIDERED]),
        notes=answer.notes,
        needed=_sentence(answer.needed.reason) if answer.needed else "",
        command=answer.needed.command if answer.needed else "",
        figure=figure_words.title(answer.question.objective),
        next_cells=[_row(answer, cell) for cell in came_next[:SHOWN]],
    )


def answer_lines(answer: Answer) -> list[str]:
    """The recommendation and its evidence, for the end of a run."""
    view = answer_view(answer)
    more = (*filter(None, (view.needed, view.command)), *view.evidence, view.asked)
    return [view.headline, *(f"  {text}" for text in more)]


def headline(answer: Answer) -> str:
    """The recommendation as a sentence."""
    figure = answer.question.objective
    named = answer.winner or answer.leader
    if named is None:
        return _no_cell(answer)
    value = f"{figure_words.title(figure)} {with_interval(figure, answer.cell(named).objective)}"
    if answer.outcome == "best":
        return f"Ship {named}: {value}, the best of {_contenders(answer)}."
    if answer.outcome == "tie":
        others = figures.plural(len(answer.tie) - 1, "other cell")
        settled = _SETTLED.get(answer.settled_by, figure_words.title(answer.settled_by))
        return f"Ship {named}: {value}, a tie with {others} that {settled} settles."
    return f"Undecided: {named} leads with {value}, and may not be the best."


def with_interval(figure: str, estimate: Estimate) -> str:
    """``3.51 ms [3.34, 3.72]`` in the unit that a figure is shown in."""
    value = figure_words.amount(figure, estimate.value)
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return value
    ends = (
        figure_words.amount(figure, end, with_unit=False) for end in (estimate.low, estimate.high)
    )
    return f"{value} [{', '.join(ends)}]"


def _no_cell(answer: Answer) -> str:
    found = answer.relaxation
    if found is None:
        return "Nothing to recommend: no cell has all the figures that were asked for."
    gives = " and ".join(f"{asked} gave way to {enough}" for asked, enough in found.bounds)
    return f"No cell meets what was asked. The nearest is {found.cell}: it would do if {gives}."


def _contenders(answer: Answer) -> str:
    """How many cells met what was asked."""
    met = sum(
        cell.objective.measured and all(held.state == "met" for held in cell.constraints)
        for cell in answer.cells
    )
    all_of_them = f"{met} of {figures.plural(len(answer.cells), 'cell')}"
    return f"{all_of_them} that meet what was asked" if answer.question.where else all_of_them


def _asked(answer: Answer) -> str:
    question = answer.question
    best = "largest" if question.maximize else "smallest"
    where = f" where {' and '.join(question.where)}" if question.where else ""
    then = f", then by {figure_words.title(question.then)}" if question.then else ""
    own = "Nothing else was asked for, so: the" if question.default else "Asked: the"
    return (
        f"{own} {best} {figure_words.title(question.objective)}{where}{then}; differences below "
        f"{100 * question.indifference:.3g} % do not matter. fp32 is the FP32 cell of the "
        "unchanged model."
    )


def _constraints(cell: AnswerCell) -> list[str]:
    """How the chosen cell stands to what was asked."""
    words = {"met": "met", "not_met": "not met", "undecided": "undecided"}
    return [
        f"{held.constraint}: {words[held.state]}, with {held.told}." for held in cell.constraints
    ]


def _binding(answer: Answer, named: str) -> list[str]:
    """Which constraint is closest to its limit, and which keeps out a cell with a better figure."""
    told = []
    near = closest(answer.cell(named))
    if near is not None:
        told.append(f"Closest to its limit: {near.constraint}.")
    out = kept_out(answer)
    if out is not None:
        cell, broken = out
        figure = answer.question.objective
        value = f"{figure_words.title(figure)} {with_interval(figure, cell.objective)}"
        by = " and ".join(f"{item.constraint} ({item.told})" for item in broken)
        told.append(f"Kept out with a better figure: {cell.cell}, {value}, by {by}.")
    return told


def _row(answer: Answer, cell: AnswerCell) -> RunnerUp:
    ratio = _times(cell.ratio) if cell.ratio.measured else figures.ABSENT
    value = with_interval(answer.question.objective, cell.objective)
    return RunnerUp(cell.cell, value, ratio, cell.reason)


def _beside(baseline: Baseline) -> str:
    """``Beside FP32 (cell): 2.02 [1.93, 2.25] times as fast, mAP50-95 +0.001 [0, +0.006].``."""
    parts = []
    for figure, ratio in baseline.ratios.items():
        parts.append(_faster(ratio) if figure == "latency_p50_ms" else _share(figure, ratio))
    for figure, change in baseline.differences.items():
        if figure == "agreement" and "map50_95" in baseline.differences:
            continue
        title = figure_words.title(figure)
        parts.append(f"{title} {_change(change)}")
    return f"Beside FP32 ({baseline.cell}): {', '.join(parts)}." if parts else ""


def _faster(ratio: Estimate) -> str:
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return ""
    if ratio.low <= 1 <= ratio.high:
        return f"{_times(ratio)} the latency, neither clearly faster nor slower"
    if ratio.high < 1:
        return f"{_times(Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low))} as fast"
    return f"{_times(ratio)} as slow"


def _times(ratio: Estimate) -> str:
    span = figures.interval(ratio.low, ratio.high)
    exact = ratio.low == ratio.high or span is None
    return f"{figures.significant(ratio.value or 0.0)}{'' if exact else f' {span}'} times"


def _share(figure: str, ratio: Estimate) -> str:
    """``peak memory +2 %``."""
    if ratio.value is None:
        return ""
    return f"{figure_words.title(figure)} {figures.signed_percent(ratio.value - 1)}"


def _change(change: Estimate) -> str:
    ends = (change.value, change.low, change.high)
    value, low, high = (figures.signed(end or 0.0, figures.DIGITS) for end in ends)
    return value if change.low == change.high else f"{value} [{low}, {high}]"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _by_reason(cells: Sequence[AnswerCell]) -> list[tuple[list[str], str]]:
    groups: dict[str, list[str]] = {}
    for cell in cells:
        groups.setdefault(cell.reason, []).append(cell.cell)
    return [(names, reason) for reason, names in groups.items()]
