"""``deploymark gate``: is the candidate worse than the baseline?

Exit codes: 0 fine, 1 regressed or over a budget, 2 usage or bad input, 3 inconclusive.
"""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench import interruptions
from deploymark.bench.cli.options import (
    BackendsOption,
    BoxesOption,
    FamilyOption,
    ImgszOption,
    InputRangeOption,
    PrecisionsOption,
    RequiresOption,
    SkipBadOption,
)
from deploymark.bench.cli.shared import console, mends_errors, words

if TYPE_CHECKING:
    from deploymark.bench.matrix.gate_settings import GateSettings
    from deploymark.bench.records.verdicts import CellVerdict, Gate

_UNFINISHED = """# Gate: unfinished

This gate is at work, or was stopped before its end. Nothing was decided.
"""
"""What stands in a gate's summary until there is one."""

_STYLES = {"regressed": "red", "inconclusive": "yellow", "unchanged": "", "improved": "green"}

Reference = Annotated[
    str,
    typer.Option(
        metavar="REF",
        help="A run directory, a matrix (file or shipped name) or a model file.",
    ),
]
Python = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Interpreter that has this side's version of the runtime."),
]
Pairs = Annotated[
    int | None, typer.Option(min=2, help="Pairs of fresh workers a cell, instead of the matrix's.")
]
Budget = Annotated[
    float | None, typer.Option(min=1.0, help="Seconds of pairs a cell, instead of the matrix's.")
]
Effect = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Change of latency that matters: 0.01 is 1 %."),
]


@mends_errors
def gate(
    baseline: Reference,
    candidate: Reference,
    baseline_python: Python = None,
    candidate_python: Python = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Of a model file: the images to measure and score on."),
    ] = None,
    imgsz: ImgszOption = "",
    backends: BackendsOption = "",
    precisions: PrecisionsOption = "",
    family: FamilyOption = "",
    boxes: BoxesOption = "",
    input_range: InputRangeOption = "",
    select: Annotated[
        str, typer.Option("-k", metavar="EXPR", help='Cells: "openvino and not int8".')
    ] = "",
    skip_bad: SkipBadOption = False,
    min_effect: Effect = None,
    max_pairs: Pairs = None,
    budget_s: Budget = None,
    results: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that gets the gate's folder.")
    ] = Path("results"),
    requires: RequiresOption = False,
) -> None:
    """Compare a candidate with a baseline, in pairs of live workers; fail where it is worse."""
    from deploymark.bench.gate.sides import SideRequest, check_of_use, resolve_cells, resolve_side
    from deploymark.bench.machine.fingerprint import git_commit
    from deploymark.bench.progress import Progress
    from deploymark.bench.records.files import write_text_atomically
    from deploymark.bench.records.run import SUMMARY_FILE
    from deploymark.bench.run.listing import required_extras
    from deploymark.bench.run.run_folder import LATEST_GATE, dated_folder, point_latest
    from deploymark.bench.run.session import sweep_leftovers
    from deploymark.bench.store import Store

    requests = [
        SideRequest(
            reference=reference,
            data=data,
            imgsz=words("--imgsz", imgsz),
            backends=words("--backends", backends),
            precisions=words("--precisions", precisions),
            family=family,
            boxes=boxes,
            input_range=words("--input-range", input_range),
            select=select,
            python=python,
            skip_bad=skip_bad,
            option=option,
        )
        for option, reference, python in (
            ("--baseline", baseline, baseline_python),
            ("--candidate", candidate, candidate_python),
        )
    ]
    check_of_use(requests)
    if requires:
        extras = {extra for item in requests for extra in required_extras(resolve_cells(item))}
        sys.stdout.write(",".join(sorted(extras)) + "\n")
        return
    from deploymark.bench.gate.gate import run_gate

    store = Store()
    sweep_leftovers(store)
    commit = git_commit(Path.cwd())
    with interruptions.held():
        folder = dated_folder(results, socket.gethostname(), commit, "gate-")
        interruptions.advise(lambda: _left_of(folder))
    try:
        write_text_atomically(folder / SUMMARY_FILE, _UNFINISHED)
        with Progress() as progress:
            sides = [resolve_side(request, store, folder, progress) for request in requests]
            changes = {
                "min_effect": min_effect,
                "max_pairs": max_pairs,
                "budget_s": budget_s,
            }
            settings = _with(sides[1].settings, changes)
            found = run_gate(sides[0], sides[1], settings, folder, progress)
    finally:
        _discard(folder)
    point_latest(folder, LATEST_GATE)
    _tell(found, folder)
    raise typer.Exit(found.exit_status)


def _discard(folder: Path) -> None:
    """Leave no folder of a gate in which nothing was measured."""
    from deploymark.bench.records.verdicts import GATE_FILE, PAIRS_FILE

    if not any((folder / name).exists() for name in (GATE_FILE, PAIRS_FILE)):
        shutil.rmtree(folder, ignore_errors=True)


def _left_of(folder: Path) -> str:
    """What a gate that was stopped leaves; half a sentence."""
    from deploymark.bench.records.verdicts import GATE_FILE

    _discard(folder)
    if (folder / GATE_FILE).exists():
        return f"its verdicts are in {folder}"
    kept = f"; its pairs are in {folder}" if folder.exists() else ""
    return f"nothing was decided{kept}"


def _with(settings: GateSettings, changes: dict[str, Any]) -> GateSettings:
    """The settings with what the command line gives. Raises BadInputError."""
    import pydantic

    from deploymark.bench.errors import BadInputError
    from deploymark.bench.yaml_source import sentence

    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return type(settings).model_validate({**settings.model_dump(), **given})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "--" + str(first["loc"][0] if first["loc"] else "min-effect").replace("_", "-")
        raise BadInputError(f"{option}: {sentence(first)} (got {first['input']!r})") from error


def _tell(found: Gate, folder: Path) -> None:
    """Write what people and machines read, and print the verdicts."""
    from deploymark.reports.gate.action import write_action_json
    from deploymark.reports.gate.junit import write_junit
    from deploymark.reports.gate.report import write_gate_report
    from deploymark.reports.gate.summary import write_gate_summary
    from deploymark.reports.gate.words import headline, lost

    write_junit(folder)
    write_action_json(folder)
    summary = write_gate_summary(folder)
    report = write_gate_report(folder)
    table = Table("cell", "verdict", "latency", "pairs", box=None)
    for cell in found.cells:
        table.add_row(
            escape(cell.cell),
            cell.verdict,
            _latency(cell),
            str(cell.pairs or ""),
            style=_STYLES[cell.verdict],
        )
    console.print(table)
    for cell in found.cells:
        if cell.reason:
            hint = f" {cell.remedy}" if cell.remedy else ""
            console.print(escape(f"{cell.cell}: {cell.reason}.{hint}"), soft_wrap=True)
    for item in found.unmatched:
        console.print(escape(f"{item['cell']}: not compared: {item['reason']}"), style="dim")
    for line in filter(None, (headline(found), lost(found))):
        console.print(f"[bold]{escape(line)}[/bold]", soft_wrap=True)
    console.print(escape(f"summary: {summary}"), soft_wrap=True)
    console.print(escape(f"report: {report}"), soft_wrap=True)


def _latency(cell: CellVerdict) -> str:
    found = next((check for check in cell.checks if check.figure == "latency_p50_ms"), None)
    if found is None or found.change is None:
        return ""
    low, high = found.change_low or 0.0, found.change_high or 0.0
    return f"{found.change:+.1%} \\[{low:+.1%}, {high:+.1%}]"
