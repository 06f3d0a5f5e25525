"""The first lines of ``summary.md``: what a reviewer reads before opening anything."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.bench.records.answer import Answer, read_answer
from deploymark.bench.records.machines import title
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.trends import read_history
from deploymark.reports.page import facts, figures, tables
from deploymark.reports.page.markdown import code, escape, table
from deploymark.reports.page.plain_text import shortened
from deploymark.reports.run import outcomes
from deploymark.reports.run.answer import answer_view
from deploymark.reports.run.scatter_chart import scatter_rows, without_labels
from deploymark.reports.run.since_previous import since_previous

MOST_LINES = 25
"""Lines before the first fold, the empty one above it among them."""

_TOLD, _FRONT, _CHANGES, _FAILED = 4, 5, 2, 3
"""Lines of evidence, rows of the front, lines of changes and of failures: with what is around them
they make ``MOST_LINES``."""

_CELLS_NAMED = 3
_KEYS = ("latency_p50_ms", "latency_p95_ms", "artifact_bytes", "peak_rss_bytes")


def _line(text: str) -> str:
    return escape(shortened(text))


def _front_cells(run: Run, chosen: str | None) -> tuple[list[str], int]:
    """The cells of the Pareto front that are shown, by rising latency, and how many it has."""
    rows = [row for row in scatter_rows(run.cells) if row["front"] == "yes"]
    names = [row["cell"] for row in sorted(rows, key=lambda row: (row["p50"], row["map"]))]
    shown = names if len(names) <= _FRONT else [*names[: _FRONT - 1], names[-1]]
    if chosen in names and chosen not in shown:
        shown[-2] = chosen
    return shown, len(names)


def _front(run: Run, chosen: str | None) -> list[str]:
    """A table of the cells that no other beats in both latency and accuracy."""
    names, count = _front_cells(run, chosen)
    if not names:
        return []
    by_name = {cell.cell: cell for cell in run.cells}
    accuracy = "agreement" if without_labels(run.cells) else "map50_95"
    columns = [tables.BY_KEY[key] for key in (*_KEYS[:2], accuracy, *_KEYS[2:])]
    shown = tables.shown_columns(run.cells)
    columns = [column for column in columns if shown[column.key]]
    some = f"{len(names)} of {count} cells" if len(names) < count else figures.plural(count, "cell")
    heads = [f"Pareto front: {some}", *(f"{c.title}, {c.unit}".rstrip(", ") for c in columns)]
    rows = []
    for name in names:
        fields = [tables.field(by_name[name], column) for column in columns]
        shown_name = code(shortened(name, 120))
        rows.append(
            [f"**{shown_name}**" if name == chosen else shown_name]
            + [escape(f"{item.text} {item.extra}".rstrip()) for item in fields]
        )
    return ["", *table(list(map(escape, heads)), rows, numeric=[False] + [True] * len(columns))]


def _evidence(run: Run, answer: Answer | None) -> list[str]:
    """What matters most of what there is to know: what is wrong with the run comes first."""
    said = [facts.state(run), facts.disturbed(run)]
    if answer is not None:
        view = answer_view(answer)
        said += [view.needed, *view.evidence, view.asked, *view.notes]
    return [f"- {_line(text)}" for text in said if text][:_TOLD]


def _failed(cells: Sequence[CellResult]) -> list[str]:
    """What failed, a line a kind, that of most cells first."""
    kinds = outcomes.kinds(outcomes.failures(cells), cells)
    kinds.sort(key=lambda kind: -kind.count)
    lines = [_failure(kind) for kind in kinds[:_FAILED]]
    if len(kinds) > _FAILED:
        rest = kinds[_FAILED - 1 :]
        count = figures.plural(sum(kind.count for kind in rest), "cell")
        lines[-1] = f"- ❌ {count} of {len(rest)} more kinds, below"
    return lines


def _failure(kind: outcomes.FailureKind) -> str:
    names = ", ".join(code(shortened(cell, 120)) for cell in kind.cells[:_CELLS_NAMED])
    more = kind.count - _CELLS_NAMED
    named = f"{names} and {more} more" if more > 0 else names
    count = figures.plural(kind.count, "cell")
    return f"- ❌ {count} **{escape(kind.status)}** ({named}): {_line(kind.reason)}"


def summary_top(run: Run) -> list[str]:
    """At most ``MOST_LINES`` lines less the empty one that begins a fold, the answer first."""
    cells = run.cells
    ok = sum(cell.status == "ok" for cell in cells)
    answer = read_answer(run.folder)
    chosen = None if answer is None else answer.winner or answer.leader
    lines = [f"# Deploymark: {ok} of {figures.plural(len(cells), 'cell')} ok"]
    if answer is not None:
        lines += ["", f"**{_line(answer_view(answer).headline)}**"]
    evidence = _evidence(run, answer)
    lines += ["", *evidence] if evidence else []
    lines += _front(run, chosen)
    since = since_previous(read_history(run.folder))
    changes = [] if since is None else [f"- {_line(text)}" for text in since.sentences[:_CHANGES]]
    listed = changes + _failed(cells)
    lines += ["", *listed] if listed else []
    machine = shortened(facts.machine_line(run.info.machine), 160)
    name = code(shortened(title(run.folder), 120))
    counts = ", ".join(f"{count} {status}" for status, count in outcomes.count_statuses(cells))
    ended = f"; {escape(counts)}" if cells else ""
    return [*lines, "", f"{name} on {escape(machine)}{ended}"]
