"""What a gate found, in words: outcomes of cells, figures and their changes, the headline.

A cell has one outcome: that of its worst check, or of its status where it could not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from deploymark.bench.records.verdicts import CellVerdict, Check, Gate, Side
from deploymark.reports.page import figure_words, figures
from deploymark.reports.page.tables import COLUMNS

LATENCY = "latency_p50_ms"
"""The figure that pairs measure."""

Outcome = Literal[
    "regressed",
    "over budget",
    "failed",
    "inconclusive",
    "not compared",
    "improved",
    "unchanged",
]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""What needs a reader first."""

ARROW = "\N{RIGHTWARDS ARROW}"
_NAMED = 3
"""Cells that the headline names for each bad outcome."""


def outcome(cell: CellVerdict) -> Outcome:
    """The outcome of a cell.

    A budget exceeded is told from a regression, where it is all. A cell that could not be measured
    has failed where its verdict is against the candidate, else it is just not compared.
    """
    if cell.status != "ok":
        return "failed" if cell.verdict == "regressed" else "not compared"
    if any(check.kind == "change" and check.verdict == "regressed" for check in cell.checks):
        return "regressed"
    if any(check.verdict == "regressed" for check in cell.checks):
        return "over budget"
    return cell.verdict


def check_outcome(check: Check) -> str:
    """The verdict of a check, in the words that fit its kind."""
    if check.kind == "budget":
        return {"regressed": "over budget", "unchanged": "within budget"}.get(
            check.verdict, check.verdict
        )
    return check.verdict


def by_severity(cells: Sequence[CellVerdict]) -> list[CellVerdict]:
    """What needs a reader first: by outcome, within one by the change of latency, slowest first."""

    def rank(cell: CellVerdict) -> tuple[int, float]:
        latency = change_of(cell, LATENCY)
        change = figures.measured(latency.change) if latency else None
        return OUTCOMES.index(outcome(cell)), -(change or 0.0)

    return sorted(cells, key=rank)


def change_of(cell: CellVerdict, figure: str) -> Check | None:
    """The check of a figure's change, None where there is none."""
    return next((c for c in cell.checks if c.kind == "change" and c.figure == figure), None)


def changed_figures(cells: Sequence[CellVerdict]) -> list[str]:
    """The figures whose change was judged in any cell, in the order of the run's table."""
    found = {check.figure for cell in cells for check in cell.checks if check.kind == "change"}
    order = [column.key for column in COLUMNS]
    return sorted(found, key=lambda key: (order.index(key) if key in order else len(order), key))


def from_to(check: Check, *, with_unit: bool = True) -> str:
    """``12.3 → 12.7 ms``; one value where the candidate's is exactly the baseline's.

    Values that would read the same get more digits, up to six.
    """
    before, after = check.baseline, check.candidate
    if before is not None and before == after:
        return figure_words.amount(check.figure, after, with_unit=with_unit)
    texts = ("", "")
    for digits in range(figures.DIGITS, 7):
        texts = (
            figure_words.amount(check.figure, before, with_unit=False, digits=digits),
            figure_words.amount(check.figure, after, with_unit=False, digits=digits),
        )
        if texts[0] != texts[1]:
            break
    shown = figure_words.unit(check.figure) if with_unit else ""
    return f"{texts[0]} {ARROW} {texts[1]} {shown}".rstrip()


def _part(check: Check, value: float) -> str:
    return figures.signed(100 * value, 2) if check.relative else figures.signed(value, 3)


def change(check: Check) -> str:
    """``+3.12 %`` or, for a difference, ``-0.021``; the dash where there is no change."""
    known = figures.measured(check.change)
    if known is None:
        return figures.ABSENT
    return _part(check, known) + " %" * check.relative


def change_interval(check: Check) -> str:
    """``[+2.04, +4.21]``, in percent where the change is; empty without an interval's width."""
    low, high = figures.measured(check.change_low), figures.measured(check.change_high)
    if low is None or high is None or low == high:
        return ""
    return f"[{_part(check, low)}, {_part(check, high)}]"


def change_words(check: Check) -> str:
    """The change and its interval: ``+3.12 % [+2.04, +4.21]``."""
    return f"{change(check)} {change_interval(check)}".rstrip()


def limit(check: Check) -> str:
    """What a check is held against: ``at most 20 ms`` or ``±1 %``; the dash without a limit."""
    if check.kind == "budget":
        word = "at least" if check.bound == "min" else "at most"
        return f"{word} {figure_words.as_given(check.figure, check.limit)}"
    if check.threshold is None:
        return figures.ABSENT
    share = 100 * check.threshold if check.relative else check.threshold
    return f"±{share:g}" + " %" * check.relative


def sentence(check: Check) -> str:
    """A check on one line, without its verdict: ``latency p50 12.3 → 12.7 ms, +3.12 % […]``."""
    if check.kind == "budget":
        candidate = figure_words.amount(check.figure, check.candidate)
        return f"{figure_words.title(check.figure)} {candidate}, {limit(check)}"
    return f"{figure_words.title(check.figure)} {from_to(check)}, {change_words(check)}"


def pairs_to_decide(cell: CellVerdict, check: Check) -> str:
    """How many pairs would decide an inconclusive check, and how long they take here."""
    if check.pairs_needed is None:
        return ""
    measured = check.pairs if check.pairs is not None else cell.pairs
    words = f"About {figures.plural(check.pairs_needed, 'pair')} would decide it"
    if measured:
        words += f", {measured} were measured"
        if cell.seconds > 0:
            seconds = cell.seconds / measured * check.pairs_needed
            words += f" (some {figures.significant(seconds, 2)} s at the pace of this run)"
    return f"{words}."


def remedy(cell: CellVerdict, check: Check) -> str:
    """What would decide an inconclusive check: the gate's own words, else the pairs it needs.

    The remedy of a cell is about its latency, where that is what is open.
    """
    latency = change_of(cell, LATENCY)
    latency_open = latency is not None and latency.verdict == "inconclusive"
    if cell.remedy and (check is latency or not latency_open):
        return cell.remedy
    return pairs_to_decide(cell, check)


def exceeded(cells: Sequence[CellVerdict]) -> list[tuple[CellVerdict, Check]]:
    """The budgets that a candidate does not keep."""
    return [
        (cell, check)
        for cell in cells
        for check in cell.checks
        if check.kind == "budget" and check.verdict == "regressed"
    ]


def undecided(cells: Sequence[CellVerdict]) -> list[tuple[CellVerdict, Check]]:
    """The checks without a verdict."""
    return [
        (cell, check) for cell in cells for check in cell.checks if check.verdict == "inconclusive"
    ]


def rests_on(cell: CellVerdict) -> str:
    """What a bad outcome of a cell rests on, short; empty for other outcomes."""
    found = outcome(cell)
    if found == "regressed":
        regressed = [c for c in cell.checks if c.kind == "change" and c.verdict == "regressed"]
        return ", ".join(
            f"{figure_words.title(check.figure)} {change(check)}" for check in regressed
        )
    if found == "over budget":
        return ", ".join(sentence(check) for _, check in exceeded([cell]))
    return cell.status.replace("_", " ") if found == "failed" else ""


_VERBS: dict[Outcome, tuple[str, str]] = {
    "regressed": ("regressed", "regressed"),
    "over budget": ("exceeds a budget", "exceed a budget"),
    "failed": ("failed", "failed"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
    "not compared": ("could not be compared", "could not be compared"),
    "improved": ("improved", "improved"),
    "unchanged": ("is unchanged", "are unchanged"),
}


def counts(cells: Sequence[CellVerdict]) -> list[tuple[Outcome, int]]:
    """(outcome, number of cells) of the outcomes that occur, what needs a reader first."""
    found = [outcome(cell) for cell in cells]
    return [(name, found.count(name)) for name in OUTCOMES if name in found]


def _named(cells: Sequence[CellVerdict], name: Outcome) -> str:
    """The first cells with a bad outcome and what it rests on, in brackets; else empty."""
    bad = [
        (cell.cell, words) for cell in cells if outcome(cell) == name if (words := rests_on(cell))
    ]
    texts = [f"{cell}: {words}" for cell, words in bad[:_NAMED]]
    if len(bad) > _NAMED:
        texts.append(f"{len(bad) - _NAMED} more")
    return f" ({'; '.join(texts)})" if texts else ""


def headline(gate: Gate) -> str:
    """The verdict in one sentence, with the cells that it rests on."""
    if not gate.cells:
        return "No cell was compared."
    cells, total = by_severity(gate.cells), len(gate.cells)
    parts: list[str] = []
    for name, count in counts(cells):
        number = str(count)
        if not parts:
            number = f"{count} of {figures.plural(total, 'cell')}"
            if count == total:
                number = "The one cell" if total == 1 else f"All {total} cells"
        parts.append(f"{number} {_VERBS[name][count != 1]}{_named(cells, name)}")
    return "; ".join(parts) + "."


def lost(gate: Gate) -> str:
    """That the candidate lost cells of the baseline, where that decides; empty elsewhere."""
    if gate.settings.get("allow_missing") is not False:
        return ""
    names = [str(item.get("cell")) for item in gate.unmatched if item.get("side") == "baseline"]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"Missing: {figures.plural(len(names), 'cell')} of the baseline, which the candidate has "
        f"lost: {', '.join(names[:_NAMED])}{more}."
    )


def side_words(side: Side) -> list[tuple[str, str]]:
    """What one side of the comparison was, as (name, text)."""
    facts = [("reference", side.reference), ("kind", side.kind)]
    if side.python:
        facts.append(("interpreter", side.python))
    if side.git_commit:
        facts.append(("commit", side.git_commit[:12]))
    return facts


def package_differences(gate: Gate) -> list[tuple[str, str, str]]:
    """(package, version of the baseline, of the candidate) where the versions differ."""
    before, after = gate.baseline.packages, gate.candidate.packages
    return [
        (name, before.get(name, figures.ABSENT), after.get(name, figures.ABSENT))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def methods(cells: Sequence[CellVerdict]) -> list[tuple[str, str]]:
    """(figures, method) for each method that decided, in the order of the figures."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for check in cell.checks:
            if check.method:
                found.setdefault(check.method, {})[figure_words.title(check.figure)] = None
    return [(", ".join(names), method) for method, names in found.items()]


def unmatched_words(entry: dict[str, str]) -> tuple[str, str]:
    """(cell, why it was not compared) of a cell that one side alone has."""
    side, reason = entry.get("side", ""), entry.get("reason", "")
    only = f"only the {side} has it" if side else "only one side has it"
    return entry.get("cell", ""), f"{only}: {reason}" if reason else only


def warnings(gate: Gate) -> list[tuple[str, list[str]]]:
    """(text, cells it is about) of each distinct warning: the gate's own first, about no cell."""
    found: dict[str, list[str]] = {text: [] for text in gate.warnings}
    for cell in gate.cells:
        for text in cell.warnings:
            found.setdefault(text, []).append(cell.cell)
    return list(found.items())
