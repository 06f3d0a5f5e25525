"""Runs side by side, in words and in GitHub-flavoured Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.comparison import LATENCY, ComparedCell, Comparison, Value
from deploymark.reports.page import facts, figure_words, figures
from deploymark.reports.page.markdown import code, escape, table

_LONGEST_TEXT = 80
"""Characters of a setting in a Markdown table; the page and the JSON have all."""


def heading(comparison: Comparison) -> str:
    """``2 runs compared`` or ``3 machines compared``."""
    kind = "machine" if comparison.several_machines else "run"
    return f"{figures.plural(len(comparison.runs), kind)} compared"


def relation(value: Value) -> str:
    """How a value relates to the first run's: ``1.03× [1.01, 1.05]``, ``+0.012``, ``same``.

    Empty for the first run, and where the two are not compared.
    """
    if value.difference == 0 or (value.ratio == 1 and value.ratio_low is None):
        return "same"
    if value.difference is not None:
        return figures.signed(value.difference, 3)
    if value.ratio is None:
        return ""
    ends = figures.interval(value.ratio_low, value.ratio_high) or ""
    return f"{figures.significant(value.ratio)}× {ends}".rstrip()


def own_interval(figure: str, value: Value) -> str:
    """The run's own interval, in the unit shown; empty where there is none."""
    if value.low is None or value.high is None or figure != LATENCY:
        return ""
    return figures.interval(value.low, value.high) or ""


def amount(figure: str, value: Value) -> str:
    """The figure without its unit, or the dash."""
    return figure_words.amount(figure, value.value, with_unit=False)


def column_title(figure: str) -> str:
    """``latency p50, ms``."""
    unit = figure_words.unit(figure)
    title = figure_words.title(figure)
    return f"{title}, {unit}" if unit else title


def legend(comparison: Comparison) -> str:
    """What stands beside a figure, in one sentence."""
    said = (
        f"Beside a figure: its ratio to {comparison.runs[0].label} with the 95 % interval over "
        "launches, or the difference of a score."
    )
    if any(any(cell.disturbed) for cell in comparison.cells):
        said += f" {DISTURBED} a latency of launches that were disturbed."
    return said


def alone(comparison: Comparison) -> list[tuple[str, str]]:
    """(cell, the runs that have it) of the cells that not every run has."""
    return [
        (
            cell.cell,
            ", ".join(
                run.label
                for run, status in zip(comparison.runs, cell.statuses, strict=True)
                if status is not None
            ),
        )
        for cell in comparison.cells
        if None in cell.statuses
    ]


def other_artifacts(comparison: Comparison) -> list[str]:
    """The cells whose artifact is not the same, byte for byte, in all runs that have one."""
    return [
        cell.cell
        for cell in comparison.cells
        if len({hash_ for hash_ in cell.artifacts if hash_}) > 1
    ]


FASTEST = "*"
"""Marks the smallest latency of a row where no text can be bold."""

DISTURBED = "~"
"""Marks a latency of launches that were disturbed."""


def mark(figure: str, cell: ComparedCell, index: int) -> str:
    """``~`` behind the latency of a cell that is marked disturbed, else nothing."""
    return DISTURBED if figure == LATENCY and cell.disturbed[index] else ""


def terminal_text(figure: str, cell: ComparedCell, index: int) -> str:
    """A figure of a run with its relation, plain: ``12.7 1.03× [1.01, 1.05]``."""
    value = cell.figures[figure][index]
    status = cell.statuses[index]
    if value.value is None:
        return figures.ABSENT if status in {None, "ok"} else str(status)
    fastest = FASTEST if figure == LATENCY and cell.fastest == index else ""
    beside = relation(value) or own_interval(figure, value)
    return f"{fastest}{amount(figure, value)}{mark(figure, cell, index)} {beside}".rstrip()


def difference_lines(comparison: Comparison) -> list[str]:
    """What differs between the runs, a line each, plain."""
    lines = [
        f"{difference.kind} {difference.name}: {' | '.join(map(_short, difference.values))}"
        for difference in comparison.differences
    ]
    lines += [f"artifact of {cell}: other bytes" for cell in other_artifacts(comparison)]
    lines += [f"{cell}: only in {labels}" for cell, labels in alone(comparison)]
    return lines


def _text(figure: str, cell: ComparedCell, index: int) -> str:
    value = cell.figures[figure][index]
    text = escape(amount(figure, value))
    if value.value is None:
        return escape(terminal_text(figure, cell, index))
    if figure == LATENCY and cell.fastest == index:
        text = f"**{text}**"
    text += escape(mark(figure, cell, index))
    if related := relation(value):
        return f"{text} ({escape(related)})"
    return f"{text} {escape(own_interval(figure, value))}".rstrip()


def _figure_table(comparison: Comparison, figure: str) -> list[str]:
    headings = ["cell", *(escape(run.label) for run in comparison.runs)]
    rows = [
        [code(cell.cell), *(_text(figure, cell, index) for index in range(len(comparison.runs)))]
        for cell in comparison.cells
    ]
    return table(headings, rows, numeric=[False] + [True] * len(comparison.runs))


def _short(text: str | None) -> str:
    if text is None:
        return figures.ABSENT
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _runs_table(comparison: Comparison) -> list[str]:
    rows = [
        [
            escape(run.label),
            code(run.folder),
            escape(figures.moment(run.started)),
            escape(facts.machine_line(run.machine)),
        ]
        for run in comparison.runs
    ]
    return table(["column", "run", "started", "machine"], rows, numeric=[False] * 4)


def _named(cells: Sequence[str]) -> str:
    return ", ".join(code(cell) for cell in cells)


def _what_differs(comparison: Comparison) -> list[str]:
    lines: list[str] = []
    if comparison.differences:
        headings = ["what", *(escape(run.label) for run in comparison.runs)]
        rows = [
            [
                escape(f"{difference.kind}: {difference.name}"),
                *(escape(_short(text)) for text in difference.values),
            ]
            for difference in comparison.differences
        ]
        lines += ["", *table(headings, rows, numeric=[False] * len(headings))]
    if others := other_artifacts(comparison):
        lines += ["", f"Artifacts of other bytes: {_named(others)}."]
    for cell, labels in alone(comparison):
        lines += ["", f"Only in {escape(labels)}: {code(cell)}."]
    return lines or ["", "Nothing that is recorded."]


def render_compare_markdown(comparison: Comparison) -> str:
    """A table of runs, one for each figure (all but the first folded), and what differs."""
    lines = [f"# Deploymark: {heading(comparison)}", "", *_runs_table(comparison)]
    for note in comparison.notes:
        lines += ["", f"> {escape(note)}"]
    for index, figure in enumerate(comparison.figures):
        title, rows = escape(column_title(figure)), _figure_table(comparison, figure)
        if index == 0:
            lines += ["", f"## {title}", "", *rows, "", escape(legend(comparison))]
        else:
            lines += ["", f"<details><summary>{title}</summary>", "", *rows, "", "</details>"]
    lines += ["", "## What differs", *_what_differs(comparison)]
    return "\n".join(lines) + "\n"
