"""``deploymark choose``: which cell of a run to ship."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
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
_WORST_FIRST = (EXIT_FAILED, EXIT_INCONCLUSIVE, 0)

_NEWEST = Path("results/latest")

_SHOWN = 8
"""Runners-up shown; ``--json`` and the report have all."""


@mends_errors
def choose(
    run_folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run directory; the newest by default. Several, or the run of a fleet: an answer "
            "for each machine.",
        ),
    ] = None,
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
    per: Annotated[
        str | None,
        typer.Option(
            "--per", metavar="machine", help="An answer for each machine: what a fleet's run gets."
        ),
    ] = None,
    all_machines: Annotated[
        bool,
        typer.Option(
            "--all-machines",
            help="One format for all machines: constraints met on each, and the best by the "
            "geometric mean over them.",
        ),
    ] = False,
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
    from deploymark.bench.records.machines import expanded

    _check_per(per, all_machines=all_machines)
    asked = Asked(where, minimize, maximize, then, _share(indifference))
    given = run_folders or [_NEWEST]
    folders = expanded(given)
    if all_machines:
        answers = {"": _for_all(given, folders, asked, json=json, copy=copy)}
    else:
        names = _titles(folders)
        answers = {
            name: _of_one(folder, name, asked, json=json, copy=copy)
            for name, folder in names.items()
        }
    if json:
        _print_json(answers)
    codes = {_EXIT[answer.outcome] for answer in answers.values()}
    raise typer.Exit(next(code for code in _WORST_FIRST if code in codes))


@dataclasses.dataclass(frozen=True)
class Asked:
    """The question as the command line has it."""

    where: list[str] | None
    minimize: str | None
    maximize: str | None
    then: str | None
    indifference: float

    def of(self, cells: Any) -> Any:
        """The question to some cells. Raises BadInputError where it cannot be asked."""
        from deploymark.bench.choose.question import make_question

        return make_question(
            cells,
            self.where,
            minimize=self.minimize,
            maximize=self.maximize,
            then=self.then,
            indifference=self.indifference,
        )


def _check_per(per: str | None, *, all_machines: bool) -> None:
    from deploymark.bench.errors import BadInputError

    if per is not None and per != "machine":
        raise BadInputError(f"--per {per}: not known", remedy="Write: --per machine")
    if per is not None and all_machines:
        raise BadInputError(
            "--per machine and --all-machines are two questions", remedy="Ask one of them."
        )


def _titles(folders: Sequence[Path]) -> dict[str, Path]:
    """The runs by what their answers are headed with; one alone needs no heading."""
    from deploymark.bench.records.machines import machine_of_part

    if len(folders) == 1:
        return {"": folders[0]}
    names = [machine_of_part(folder) or str(folder) for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return dict(zip(names, folders, strict=True))


def _of_one(folder: Path, name: str, asked: Asked, *, json: bool, copy: Path | None) -> Any:
    """The answer for one run, which is kept beside it, told and handed over."""
    from deploymark.bench.choose.choose import answer as answer_of
    from deploymark.bench.choose.table import RunTable
    from deploymark.bench.records.machines import title
    from deploymark.bench.records.run import load_run

    run = load_run(folder)
    question = asked.of(run.cells)
    table = RunTable(run)
    answer = answer_of(table, question)
    _keep(folder, table, answer)
    if not json:
        if name:
            console.print(f"[bold]{escape(name)}[/bold]", soft_wrap=True)
        show_answer(answer)
    if copy is not None:
        _copy(run, answer, copy / title(folder) if name else copy, json=json)
    return answer


def _for_all(
    given: Sequence[Path], folders: Sequence[Path], asked: Asked, *, json: bool, copy: Path | None
) -> Any:
    """One answer for all machines; kept beside a fleet's run."""
    from deploymark.bench.choose.choose import answer as answer_of
    from deploymark.bench.choose.machines import METHOD, MachinesTable, read_tables
    from deploymark.bench.records.answer import write_answer
    from deploymark.bench.records.run import read_run_info

    tables = read_tables(folders)
    table = MachinesTable(tables, given[0], read_run_info(given[0]))
    answer = answer_of(table, asked.of(table.run.cells))
    answer = dataclasses.replace(answer, method=f"{answer.method} {METHOD}".strip())
    if len(given) == 1:
        try:
            write_answer(given[0], answer)
        except OSError as error:
            _tell_unkept(given[0], error)
    if not json:
        console.print(f"[bold]{escape(', '.join(tables))}[/bold]", soft_wrap=True)
        show_answer(answer)
        console.print(escape(METHOD), soft_wrap=True)
    if copy is not None:
        _copy(next(iter(tables.values())).run, answer, copy, json=json)
    return answer


def _copy(run: Any, answer: Any, copy: Path, *, json: bool) -> None:
    from deploymark.bench.choose.hand_over import hand_over

    if answer.winner is None:
        sys.stderr.write(f"--copy {copy}: there is no winner to copy\n")
        return
    files = hand_over(run, answer, copy)
    if not json:
        for path in files:
            console.print(escape(str(path)))


def _print_json(answers: Mapping[str, Any]) -> None:
    """One answer as it is, several by their machines."""
    from deploymark.bench.records.answer import answer_text
    from deploymark.bench.records.files import dump_json

    if list(answers) == [""]:
        sys.stdout.write(answer_text(answers[""]))
        return
    found = {name: dataclasses.asdict(answer) for name, answer in answers.items()}
    sys.stdout.write(dump_json(found) + "\n")


def _keep(folder: Path, table: Any, answer: Any) -> None:
    """Write ``answer.json``; of a folder that cannot be written the answer is told all the same."""
    from deploymark.bench.choose.of_run import keep

    try:
        keep(folder, table, answer)
    except OSError as error:
        _tell_unkept(folder, error)


def _tell_unkept(folder: Path, error: OSError) -> None:
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
