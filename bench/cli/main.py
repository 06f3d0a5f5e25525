"""The command line: a command a module.

Exit codes: 0 fine, 1 a cell failed or regressed, 2 usage or bad input, 3 inconclusive, 128
and its number for a signal (130 for Ctrl-C).
"""

from __future__ import annotations

import sys

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.bundle import bundle_app
from deploymark.bench.cli.cache import cache_app
from deploymark.bench.cli.choose import choose
from deploymark.bench.cli.collect import collect
from deploymark.bench.cli.compare import compare
from deploymark.bench.cli.explain import explain
from deploymark.bench.cli.fit import fit
from deploymark.bench.cli.fleet import fleet
from deploymark.bench.cli.gate import gate
from deploymark.bench.cli.history import history
from deploymark.bench.cli.report import report
from deploymark.bench.cli.run import list_cells, run
from deploymark.bench.cli.shared import EXIT_BAD_INPUT, console, mends_errors, tell

app = typer.Typer(
    name="deploymark",
    help="Which format should this detector ship in, on this hardware?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)
app.add_typer(bundle_app, name="bundle")
app.add_typer(cache_app, name="cache")

app.command(
    epilog="Examples: [bold]deploymark run[/bold] · "
    "[bold]deploymark run --model my.pt --data my.yaml --imgsz 640[/bold] · "
    "[bold]deploymark run --model my.onnx --data my.yaml[/bold] · "
    '[bold]deploymark run my.yaml -k "int8 and not torch"[/bold] · '
    "[bold]deploymark run my.dmb[/bold] · "
    "[bold]deploymark run --resume results/RUN[/bold]"
)(run)

app.command(
    "list",
    epilog="Examples: [bold]deploymark list[/bold] · "
    "[bold]deploymark list yolo11 --model my.pt --data my.yaml[/bold]",
)(list_cells)


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


app.command(
    epilog="Examples: [bold]deploymark choose[/bold] · "
    '[bold]deploymark choose results/latest --where "latency_p95_ms <= 20" '
    '--where "map50_95 >= fp32 - 0.01" --minimize artifact_bytes[/bold] · '
    "[bold]deploymark choose --copy ship[/bold] · "
    "[bold]deploymark choose results/latest --all-machines[/bold]"
)(choose)


app.command(
    epilog="Examples: [bold]deploymark report results/latest[/bold] · "
    "[bold]deploymark report desk/results/latest jetson/results/latest --output devices.html[/bold]"
)(report)

app.command(
    epilog="Examples: "
    "[bold]deploymark explain results/latest my-dense-int8-onnxruntime-cpu-640[/bold] · "
    "[bold]deploymark explain results/latest my-dense-fp32-onnxruntime-cpu-640 "
    "--against my-dense-fp32-torch-cpu-640[/bold] · "
    "[bold]deploymark explain results/latest my-dense-int8-openvino-cpu-640 --again[/bold]"
)(explain)

app.command(
    epilog="Examples: [bold]deploymark fit[/bold] · "
    '[bold]deploymark fit results/latest -k "int8 and openvino"[/bold] · '
    "[bold]deploymark fit my.yaml[/bold] · "
    "[bold]deploymark fit --model my.pt --data my.yaml --backends onnxruntime,ncnn[/bold]"
)(fit)

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


app.command(
    epilog="Examples: [bold]deploymark collect results --into fleet[/bold] · "
    "[bold]deploymark collect results/latest --into s3://bench/fleet[/bold] · "
    "[bold]deploymark history fleet[/bold] · "
    "[bold]deploymark compare fleet/RUN fleet/RUN[/bold]"
)(collect)


app.command(
    epilog="Examples: [bold]deploymark fleet my.dmb --scheduler tcp://127.0.0.1:8786[/bold] · "
    "[bold]deploymark fleet my.yaml --scheduler tls://bench:8786 --tls-ca ca.pem "
    "--tls-cert me.pem --tls-key me.key[/bold] · "
    "[bold]deploymark fleet my.dmb --hosts hosts.yaml[/bold] · "
    "[bold]deploymark fleet my.dmb --collect --hosts hosts.yaml[/bold]"
)(fleet)


def main() -> None:
    """The console script: whatever ends it, no traceback is shown."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the front door
        tell(error)
        sys.exit(EXIT_BAD_INPUT)
