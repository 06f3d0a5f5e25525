"""``deploymark cache``: the store of artifacts and of what recipes made."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deploymark.bench.cli.shared import console, mends_errors

cache_app = typer.Typer(
    help="The store of artifacts and of what recipes made.", no_args_is_help=True
)


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

    removed = Store().remove(older_than_days=older_than_days)
    kept = f"; {removed.skipped} left, in use by a run" if removed.skipped else ""
    console.print(f"{removed.entries} entries removed, {removed.bytes / 1e6:.1f} MB{kept}")
