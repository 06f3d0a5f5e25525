"""``deploymark choose``: which cell of a run to ship."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deploymark.bench.cli.shared import (
    EXIT_FAILED,
    EXIT_INCONCLUSIVE,
    console,
    mends_errors,
)

_EXIT = {"best": 0, "tie": 0, "undecided": EXIT_INCONCLUSIVE, "infeasible": EXIT_FAILED}

_SHOWN = 8
"""Runners-up shown; ``--json`` and the report have all."""


@mends_errors
def choose(
    run_folder: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="Run directory; the newest by default.")
    ] = Path("results/latest"),
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="BOUND",
            help='A constraint, as often as needed: "latency_p95_ms <= 20", '
            '"map50_95 >= fp32 - 0.01", "artifact_bytes <= 8MB". Without one: as accurate as FP32.',
        ),
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option("--minimize", metavar="FIGURE", help="What to have least of: latency_p50_ms."),
    ] = None,
    maximize: Annotated[
        str | None, typer.Option("--maximize", metavar="FIGURE", help="What to have most of.")
    ] = None,
    then: Annotated[
        str | None, typer.Option("--then", metavar="FIGURE", help="What settles a tie.")
    ] = None,
    indifference: Annotated[
        str,
        typer.Option("--indifference", metavar="SHARE", help="Differences that do not matter."),
    ] = "2%",
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON (answer.json has it, too).")
    ] = False,
    copy: Annotated[
        Path | None,
        typer.Option(
            "--copy",
            metavar="DIR",
            help="Put the artifact, a card of its figures and a loader for its runtime there.",
        ),
    ] = None,
) -> None:
    """Say which cell to ship: 0 an answer, 1 no cell will do, 3 undecided."""
    from deploymark.bench.choose.choose import answer as answer_of
    from deploymark.bench.choose.hand_over import hand_over
    from deploymark.bench.choose.question import make_question
    from deploymark.bench.choose.table import RunTable
    from deploymark.bench.records.answer import answer_text
    from deploymark.bench.records.run import load_run

    run = load_run(run_folder)
    question = make_question(
        run.cells,
        where,
        minimize=minimize,
        maximize=maximize,
        then=then,
        indifference=_share(indifference),
    )
    table = RunTable(run)
    answer = answer_of(table, question)
    _keep(run_folder, table, answer)
    if json:
        sys.stdout.write(answer_text(answer))
    else:
        show_answer(answer)
    if copy is not None and answer.winner is None:
        sys.stderr.write(f"--copy {copy}: there is no winner to copy\n")
    elif copy is not None:
        files = hand_over(run, answer, copy)
        if not json:
            for path in files:
                console.print(escape(str(path)))
    raise typer.Exit(_EXIT[answer.outcome])


def _keep(folder: Path, table: Any, answer: Any) -> None:
    """Write ``answer.json``; of a folder that cannot be written the answer is told all the same."""
    from deploymark.bench.choose.of_run import keep

    try:
        keep(folder, table, answer)
    except OSError as error:
        sys.stderr.write(f"{folder}: no answer.json was written: {error.strerror or error}\n")


def _share(text: str) -> float:
    """``2%`` or ``0.02``. Raises BadInputError for anything else."""
    from deploymark.bench.errors import BadInputError

    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise BadInputError(
            f"--indifference {text}: neither a percentage nor a share",
            remedy="Write: --indifference 2%",
        ) from None


def show_answer(answer: Any) -> None:
    """The recommendation first, then the evidence, what came next and what was not considered."""
    from deploymark.reports.run.answer import answer_lines, answer_view

    view = answer_view(answer)
    headline, *lines = answer_lines(answer)
    style = {"best": "green", "tie": "green", "undecided": "yellow"}.get(answer.outcome, "red")
    console.print(f"[bold {style}]{escape(headline)}[/]", soft_wrap=True)
    for text in lines:
        console.print(escape(text), soft_wrap=True)
    _listed("Next", view.runners_up)
    _listed("Not considered", view.not_considered)
    for note in view.notes:
        console.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)


def _listed(title: str, groups: list[tuple[list[str], str]]) -> None:
    if not groups:
        return
    console.print(f"[bold]{title}[/]")
    for names, reason in groups[:_SHOWN]:
        cells = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")  # noqa: PLR2004
        console.print(f"  {escape(cells)}: {escape(reason)}", soft_wrap=True)
    if len(groups) > _SHOWN:
        console.print(f"  and {len(groups) - _SHOWN} more, in answer.json")
