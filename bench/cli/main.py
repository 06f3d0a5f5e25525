"""The command line: ``run, list, doctor, report, gate, compare, history, cache``.

Exit codes: 0 fine, 1 a cell failed or regressed, 2 usage or bad input, 3 inconclusive.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.compare import compare
from deploymark.bench.cli.gate import gate
from deploymark.bench.cli.history import history
from deploymark.bench.cli.shared import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    console,
    image_sizes,
    mends_errors,
    words,
)

app = typer.Typer(
    name="deploymark",
    help="Which format should this detector ship in, on this hardware?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)
cache_app = typer.Typer(
    help="The store of artifacts and of what recipes made.", no_args_is_help=True
)
app.add_typer(cache_app, name="cache")

MatrixArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MATRIX]", help="Matrix file, or the name of a shipped one."),
]
MatrixOption = Annotated[
    str | None, typer.Option("--matrix", metavar="FILE", help="The same, as an option.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="A .pt checkpoint; or an exported file or folder, measured as it is.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Ultralytics data.yaml or COCO JSON to score it on; or a folder of images, no labels.",
    ),
]
ImgszOption = Annotated[
    str,
    typer.Option("--imgsz", metavar="N[,N]", help="Input size in pixels, instead of the matrix's."),
]
BackendsOption = Annotated[
    str, typer.Option("--backends", metavar="A,B", help="Backends, instead of the matrix's.")
]
PrecisionsOption = Annotated[
    str, typer.Option("--precisions", metavar="A,B", help="Precisions, instead of the matrix's.")
]
SelectOption = Annotated[
    str,
    typer.Option(
        "-k", metavar="EXPR", help='Cells by words of their ids: "openvino and not int8".'
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="A cell that stays disturbed by other load, heat or a hypervisor is invalid and fails "
        "the run; by default it is marked.",
    ),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Folder that gets the run directory.")
]


def _request(
    matrix: str | None,
    option: str | None,
    model: str | None,
    data: str | None,
    imgsz: str,
    backends: str,
    precisions: str,
    select: str,
    *,
    strict: bool,
) -> Any:
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.matrix.request import RunRequest

    if matrix is not None and option is not None and matrix != option:
        raise BadInputError(f"two matrices are named: {matrix} and {option}")
    return RunRequest(
        matrix=matrix or option,
        model=model,
        data=data,
        imgsz=image_sizes(imgsz),
        backends=words(backends),
        precisions=words(precisions),
        select=select,
        strict=strict,
    )


@app.command(
    epilog="Examples: [bold]deploymark run[/bold] · "
    "[bold]deploymark run --model my.pt --data my.yaml --imgsz 640[/bold] · "
    "[bold]deploymark run --model my.onnx --data my.yaml[/bold] · "
    '[bold]deploymark run my.yaml -k "int8 and not torch"[/bold] · '
    "[bold]deploymark run --resume results/latest[/bold]"
)
@mends_errors
def run(
    matrix: MatrixArgument = None,
    matrix_option: MatrixOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    imgsz: ImgszOption = "",
    backends: BackendsOption = "",
    precisions: PrecisionsOption = "",
    select: SelectOption = "",
    strict: StrictOption = False,
    results: ResultsOption = Path("results"),
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped."),
    ] = None,
    pytest_options: Annotated[
        str,
        typer.Option(
            "--pytest", metavar="ARGS", help='More options of pytest: "-x --junitxml=j.xml".'
        ),
    ] = "",
) -> None:
    """Build, measure and report every cell of a matrix (the embedded detector by default)."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.run.session import resume as go_on
    from deploymark.bench.run.session import start

    request = _request(
        matrix, matrix_option, model, data, imgsz, backends, precisions, select, strict=strict
    )
    if resume is not None:
        from deploymark.bench.matrix.request import RunRequest

        if request != RunRequest():
            raise BadInputError(
                "--resume goes on with the cells and the strictness of its run, and takes no other "
                "choice of them"
            )
        session = go_on(resume)
    else:
        session = start(request, results)
    try:
        code = _under_pytest(session, pytest_options)
    finally:
        session.close()
    raise typer.Exit(code)


def _under_pytest(session: Any, options: str) -> int:
    """Carry out the session as pytest tests; the exit code of the run."""
    import shlex

    import pytest

    from deploymark.bench import pytest_plugin
    from deploymark.bench.pytest_plugin.plugin import SessionPlugin

    plugin = SessionPlugin(session)
    config = Path(pytest_plugin.__file__).with_name("pytest.ini")
    arguments = [
        "--pyargs",
        "deploymark.bench.pytest_plugin.test_cells",
        "--noconftest",
        f"-c={config}",
        "--no-header",
        "-q",
        "--benchmark-sort=mean",
        "--benchmark-columns=median,mean,stddev,min,max,rounds",
        *shlex.split(options),
    ]
    # what a user set for their own tests is not meant for this run
    os.environ.pop("PYTEST_ADDOPTS", None)
    code = pytest.main(arguments, plugins=[_Handover(plugin)])
    if code == pytest.ExitCode.INTERRUPTED:
        sys.stderr.write(f"stopped; go on with: deploymark run --resume {session.folder}\n")
        return EXIT_INTERRUPTED
    if session.measured is None:
        return EXIT_BAD_INPUT if code == pytest.ExitCode.USAGE_ERROR else EXIT_FAILED
    if code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        return EXIT_FAILED
    return int(session.measured.exit_status)


class _Handover:
    """Registers the session under the name that the plugin looks for, before it is configured."""

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin

    def pytest_addoption(self, pluginmanager: Any) -> None:
        """The first hook called with the plugin manager."""
        pluginmanager.register(self.plugin, "deploymark-session")


@app.command(
    "list",
    epilog="Examples: [bold]deploymark list[/bold] · "
    "[bold]deploymark list yolo11 --model my.pt --data my.yaml[/bold]",
)
@mends_errors
def list_cells(
    matrix: MatrixArgument = None,
    matrix_option: MatrixOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    imgsz: ImgszOption = "",
    backends: BackendsOption = "",
    precisions: PrecisionsOption = "",
    select: SelectOption = "",
    strict: StrictOption = False,
    results: ResultsOption = Path("results"),  # noqa: ARG001 - list takes what run takes
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="The cells of this run.")
    ] = None,
    pytest_options: Annotated[  # noqa: ARG001 - list takes what run takes
        str, typer.Option("--pytest", metavar="ARGS", help="Not used: list takes what run takes.")
    ] = "",
    requires: Annotated[
        bool, typer.Option("--requires", help="Print the extras that the cells need, and no more.")
    ] = False,
) -> None:
    """Show the cells of a matrix before anything runs."""
    from deploymark.bench.matrix.request import expand_resolved, resolve_matrix
    from deploymark.bench.run.listing import listing, required_extras
    from deploymark.bench.run.run_folder import reopen
    from deploymark.bench.yaml_source import YamlSource

    if resume is not None:
        info, stored = reopen(resume)
        resolved = expand_resolved(stored, YamlSource(info.matrix_file, None), info.selection)
    else:
        request = _request(
            matrix, matrix_option, model, data, imgsz, backends, precisions, select, strict=strict
        )
        resolved = resolve_matrix(request)
    if requires:
        sys.stdout.write(",".join(required_extras(resolved)) + "\n")
        return
    table = Table(box=None)
    table.add_column("cell", no_wrap=True)
    table.add_column("what will happen", no_wrap=True)
    table.add_column("why")
    rows = listing(resolved)
    for row in rows:
        table.add_row(escape(row.cell), row.state, escape(row.reason), style=row.style)
    console.print(table)
    count = sum(row.state == "measured" for row in rows)
    console.print(f"{count} cells of {escape(resolved.file)} would be measured")


@app.command(epilog="Example: [bold]deploymark doctor[/bold]")
@mends_errors
def doctor() -> None:
    """Tell what this machine can measure, what not, and the command that mends it."""
    from deploymark.bench.doctor.examine import examine

    marks = {"ok": "[green]✓[/green]", "note": "[yellow]·[/yellow]", "problem": "[red]✗[/red]"}
    table = Table("", "", "", box=None, show_header=False)
    for finding in examine():
        text = escape(finding.text)
        if finding.remedy:
            text += f"\n[bold]→ {escape(finding.remedy)}[/bold]"
        table.add_row(marks[finding.state], escape(finding.what), text)
    console.print(table)


@app.command(epilog="Example: [bold]deploymark report results/latest[/bold]")
@mends_errors
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="[RUN]", help="Run directory; the newest by default.")
    ] = Path("results/latest"),
) -> None:
    """Render report.html and summary.md of a run anew."""
    from deploymark.bench.history.history import write_history
    from deploymark.reports.run.render import write_report
    from deploymark.reports.run.summary import write_summary

    write_history(run_folder)
    summary = write_summary(run_folder)
    console.print(escape(str(write_report(run_folder))))
    console.print(escape(str(summary)))


app.command(
    epilog="Examples: [bold]deploymark compare results/ONE results/OTHER[/bold] · "
    "[bold]deploymark compare desk/results/latest jetson/results/latest --html devices.html[/bold]"
)(compare)

app.command(
    epilog="Examples: "
    "[bold]deploymark gate --baseline results/main --candidate results/latest[/bold] · "
    "[bold]deploymark gate --baseline old.onnx --candidate new.onnx --data my.yaml[/bold] · "
    "[bold]deploymark gate --baseline results/latest --candidate results/latest "
    "--candidate-python venv/bin/python[/bold]"
)(gate)

app.command(
    epilog="Examples: [bold]deploymark history[/bold] · "
    '[bold]deploymark history -k "int8 and openvino" --html history.html[/bold] · '
    "[bold]deploymark history from-ci --figure latency_p50_ms,map50_95 --last 50[/bold]"
)(history)


@cache_app.command("path")
@mends_errors
def cache_path() -> None:
    """Print where the store is (DEPLOYMARK_CACHE moves it)."""
    from deploymark.bench.store import cache_root

    sys.stdout.write(f"{cache_root()}\n")


@cache_app.command("list")
@mends_errors
def cache_list() -> None:
    """List the artifacts of the store, and the checkpoints that recipes made."""
    from deploymark.bench.store import Store, StoredArtifact

    def described(item: StoredArtifact) -> tuple[str, ...]:
        steps = " ".join(str(step.get("kind", "")) for step in item.recipe["steps"]) or "dense"
        return steps, f"{item.bytes / 1e6:.1f}", f"{item.build_s:.1f}", item.sha256[:12]

    store = Store()
    table = Table(
        "backend", "precision", "imgsz", "batch", "steps", "MB", "build s", "sha256", box=None
    )
    for item in store.entries():
        axes = (str(item.recipe[key]) for key in ("backend", "precision", "imgsz", "batch"))
        table.add_row(*(escape(text) for text in (*axes, *described(item))))
    console.print(table)
    made = store.entries("variants")
    if made:
        variants = Table("model", "steps", "MB", "seconds", "sha256", box=None, title="recipes")
        for item in made:
            model = str(item.recipe["model"])[:12]
            variants.add_row(*(escape(text) for text in (model, *described(item))))
        console.print(variants)
    console.print(f"{store.size_bytes() / 1e6:.1f} MB in {escape(str(store.root))}")


@cache_app.command("clear")
@mends_errors
def cache_clear(
    older_than_days: Annotated[
        float, typer.Option(min=0.0, help="Only what was not made within so many days.")
    ] = 0.0,
) -> None:
    """Remove artifacts, recipes' checkpoints, prepared images and inspections from the store."""
    from deploymark.bench.store import Store

    entries, size = Store().remove(older_than_days=older_than_days)
    console.print(f"{entries} entries removed, {size / 1e6:.1f} MB")


def main() -> None:
    """The console script."""
    app()
