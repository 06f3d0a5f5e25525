"""``deploymark bundle``: all that measuring takes in one file, to be measured elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from deploymark.bench.cli.options import Choice, takes_choice
from deploymark.bench.cli.shared import console, mends_errors

BundleArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A bundle (.dmb).")]


class _Bundle(TyperGroup):
    """A group whose first word may be a matrix: ``bundle my.yaml`` is ``bundle make my.yaml``."""

    def meant(self, args: list[str]) -> list[str]:
        """The arguments with the command that is meant before what is no command."""
        named = args and (args[0] in self.commands or args[0] == "--help")
        return args if named else ["make", *args]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what is meant."""
        return super().parse_args(ctx, self.meant(args))


bundle_app = typer.Typer(
    cls=_Bundle,
    help="All that measuring takes in one file, built here, measured there. "
    "[bold]deploymark bundle MATRIX -o FILE[/bold] is short for [bold]bundle make[/bold].",
    epilog="Examples: [bold]deploymark bundle -o digits.dmb[/bold] · "
    "[bold]deploymark bundle --model my.pt --data my.yaml -o my.dmb[/bold] · "
    "[bold]deploymark bundle show my.dmb[/bold] · [bold]deploymark run my.dmb[/bold]",
    rich_markup_mode="rich",
)


@bundle_app.command("make")
@mends_errors
@takes_choice
def make_bundle(
    choice: Choice,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The bundle to write.")
    ] = Path("detector.dmb"),
) -> None:
    """Build the cells of a matrix here, and pack them to be measured on another machine.

    The file holds the artifacts, the prepared images, the labels and the matrix. Measuring it takes
    the runtimes and no exporter: deploymark run detector.dmb.
    """
    from deploymark.bench.run.bundling import pack

    packed = pack(choice.request(), output)
    manifest = packed.manifest
    for cell, why in packed.without.items():
        console.print(escape(f"{cell}: not in the bundle ({why})"))
    held = sum(cell.artifact is not None for cell in manifest.cells)
    size = packed.path.stat().st_size / 1e6
    console.print(
        escape(f"{packed.path}: {held} of {len(manifest.cells)} cells, {size:.1f} MB"),
        escape(f"Measure it there: deploymark run {packed.path.name}"),
        sep="\n",
    )


@bundle_app.command("show")
@mends_errors
def show_bundle(file: BundleArgument) -> None:
    """Tell what a bundle holds; nothing is unpacked."""
    from deploymark.bench.bundle.container import Container

    with Container(file) as container:
        manifest = container.manifest
    table = Table("cell", "MB", "sha256", "", box=None)
    for item in manifest.cells:
        held, why = item.artifact, item.outcome
        table.add_row(
            escape(item.cell.id),
            "" if held is None else f"{held.bytes / 1e6:.1f}",
            "" if held is None else held.sha256[:12],
            "" if why is None else escape(f"{why.status}: {why.reason}"),
        )
    console.print(table)
    console.print(
        escape(
            f"{len(manifest.files)} files, {manifest.total_bytes / 1e6:.1f} MB unpacked, made by "
            f"Deploymark {manifest.deploymark_version} of {manifest.matrix_file}"
        )
    )


@bundle_app.command("verify")
@mends_errors
def verify_bundle(file: BundleArgument) -> None:
    """Read every file of a bundle and check its hash; nothing is unpacked."""
    from deploymark.bench.bundle.container import Container

    with Container(file) as container:
        count = sum(1 for _ in container.verify())
        size = container.manifest.total_bytes
    console.print(escape(f"{file}: {count} files of {size / 1e6:.1f} MB are what they should be"))
