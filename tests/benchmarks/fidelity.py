"""Does the harness report what a user of the runtime would see? Every cell against a bare loop.

    python tests/benchmarks/fidelity.py --record fidelity.jsonl [--threads 1,2] [--pairs 3]
        [-k "openvino and int8"] [--minutes 30] [--no-tools]
    python tests/benchmarks/fidelity.py --record fidelity.jsonl --table

For every cell of ``matrices/all.yaml`` that this machine runs, at each number of threads: pairs of
fresh processes, Deploymark's own worker and the loop that the runtime's documentation shows
(``tests/backends/bare_loops.py``) in a plain environment, in turns of a tenth of a second
(``fidelity_pair.py``); and after each pair the vendor's own tool where its wheel has one
(``vendor_tools.py``). Pairs of all cells are interleaved in a seeded random order: pair 1 of all,
then pair 2. Before its first pair a cell's two sides are seen to predict the same.

Every pair is a line of ``--record``. Ctrl-C ends the suite at any time; started again, it goes on.
Artifacts come from the store, and those that it lacks are built first, as ``deploymark run all
--imgsz 320`` does. Let nothing else run meanwhile: bare loops spin where the runtime does.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vendor_tools
from fidelity_pair import PairError, float_images, largest_difference, measure
from fidelity_table import table

from deploymark.backends.hardware import cpu
from deploymark.bench.gate.pairing import Measurable
from deploymark.bench.gate.sides import SideRequest, resolve_side
from deploymark.bench.progress import Progress
from deploymark.bench.store import Store

SEED = 0
TOOL_S = 1.5
"""Seconds that a vendor's tool times, its start aside."""


@dataclasses.dataclass(frozen=True)
class Item:
    """A cell at a number of threads. ``position`` is its place in the matrix."""

    position: int
    measurable: Measurable

    @property
    def name(self) -> str:
        """``digits-dense-fp32-ncnn-cpu-320-t2``."""
        return f"{self.measurable.cell.id}-t{self.measurable.threads}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line says of the pairs. ``until`` is a time of ``time.monotonic``."""

    record: Path
    pairs: int
    tools: bool
    until: float


def items(imgsz: int, select: str, threads: Sequence[int], folder: Path) -> list[Item]:
    """The cells that run here, at each number of threads; builds what the store lacks."""
    request = SideRequest("all", imgsz=(imgsz,), select=select)
    with Progress() as progress:
        side = resolve_side(request, Store(), folder, progress)
    return [
        Item(position, dataclasses.replace(found.measurable, threads=count))
        for position, found in enumerate(side.cells.values())
        if found.cell.device == "cpu"
        for count in threads
    ]


def recorded(path: Path) -> list[dict[str, Any]]:
    """What was recorded so far; a line that an interruption cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def append(path: Path, record: dict[str, Any]) -> None:
    """A line more, on disk before anything else is measured."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
        stream.flush()


def schedule(found: Sequence[Item], pairs: int) -> list[tuple[int, Item]]:
    """All pairs: the first of every item in random order, then the second, and so on."""
    planned: list[tuple[int, Item]] = []
    for number in range(1, pairs + 1):
        # Names, so that the order is the same whichever cells are picked.
        ordered = sorted(found, key=lambda item: item.name)
        random.Random(f"{SEED}-{number}").shuffle(ordered)  # noqa: S311 - no secret
        planned += [(number, item) for item in ordered]
    return planned


def tool_figures(item: Item, images: Path) -> dict[str, Any]:
    """What the vendor's tool says of a cell; empty where there is none."""
    cell = item.measurable.cell
    if cell.backend not in vendor_tools.TOOLS:
        return {}
    job = vendor_tools.ToolJob(
        backend=cell.backend,
        file=str(item.measurable.artifact.folder / item.measurable.artifact.entry),
        threads=item.measurable.threads,
        precision=cell.precision,
        height=cell.imgsz.height,
        width=cell.imgsz.width,
        images=str(images),
        seconds=TOOL_S,
    )
    figures = {"tool": vendor_tools.TOOLS[cell.backend].name, "tool_ms": None}
    try:
        return {**figures, "tool_ms": vendor_tools.time_ms(job)}
    except RuntimeError as error:
        return {**figures, "tool_reason": str(error)}


def carry_out(number: int, item: Item, images: Path, log: Path, *, tools: bool) -> dict[str, Any]:
    """One pair, as its record. Raises PairError."""
    cell, began = item.measurable.cell, time.monotonic()
    pair = measure(item.measurable, images, log, random.Random(f"{SEED}-{item.name}-{number}"))  # noqa: S311 - no secret
    return {
        "kind": "pair",
        "cell": item.name,
        "pair": number,
        "position": item.position,
        "backend": cell.backend,
        "precision": cell.precision,
        "threads": item.measurable.threads,
        "log_ratio": pair.log_ratio,
        "harness_ms": pair.harness_ms,
        "bare_ms": pair.bare_ms,
        **(tool_figures(item, images) if tools else {}),
        "harness_ns": pair.harness_ns,
        "bare_ns": pair.bare_ns,
        "seconds": round(time.monotonic() - began, 1),
        "machine": cpu.detect().model,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def run(found: Sequence[Item], settings: Settings, folder: Path) -> None:
    """Measure the pairs that are not recorded yet."""
    before = recorded(settings.record)
    done = {(record["cell"], record["pair"]) for record in before if record["kind"] == "pair"}
    checked = {record["cell"] for record in before if record["kind"] == "check"}
    left = [
        (number, item)
        for number, item in schedule(found, settings.pairs)
        if (item.name, number) not in done
    ]
    images = {
        item.measurable.images: float_images(
            item.measurable.images, folder / f"images-{item.measurable.cell.imgsz}.npy"
        )
        for item in found
    }
    with Progress() as progress:
        progress.phase("pairs", len(left))
        for number, item in left:
            if time.monotonic() > settings.until:
                progress.say("the time is over")
                return
            log = folder / f"{item.name}.log"
            progress.now(item.name)
            try:
                if item.name not in checked:
                    _check(item, images[item.measurable.images], folder, log, settings.record)
                    checked.add(item.name)
                record = carry_out(
                    number, item, images[item.measurable.images], log, tools=settings.tools
                )
            except PairError as error:
                reason = f"{error} ({_last_line(log)})"
                append(
                    settings.record,
                    {"kind": "failed", "cell": item.name, "pair": number, "reason": reason},
                )
                progress.done(f"{item.name}, pair {number}: {reason}")
                continue
            append(settings.record, record)
            progress.done(f"{item.name}, pair {number}: {_said(record)}")


def _check(item: Item, images: Path, folder: Path, log: Path, record: Path) -> None:
    """Record how far the predictions of the two sides are apart."""
    difference = largest_difference(item.measurable, images, folder, log)
    append(record, {"kind": "check", "cell": item.name, "largest_difference": difference})


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _said(record: dict[str, Any]) -> str:
    """``21.30 ms, bare loop 21.10 ms (+0.9 %), benchmark_app 21.2 ms``."""
    change = record["harness_ms"] / record["bare_ms"] - 1
    text = f"{record['harness_ms']:.2f} ms, bare loop {record['bare_ms']:.2f} ms ({change:+.1%})"
    tool = f", {record['tool']} {record['tool_ms']:.2f} ms" if record.get("tool_ms") else ""
    return text + tool


def numbers(text: str) -> list[int]:
    """``1,2`` as numbers."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, required=True, help="JSON lines; gone on with")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="1,2")
    parser.add_argument("--pairs", type=int, default=3, help="pairs a cell and number of threads")
    parser.add_argument("-k", dest="select", default="", help="cells, by words of their ids")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--no-tools", action="store_true", help="leave the vendors' tools out")
    parser.add_argument("--table", action="store_true", help="print the table alone")
    options = parser.parse_args()
    stopped = False
    if not options.table:
        with tempfile.TemporaryDirectory(prefix="fidelity-") as folder:
            try:
                found = items(options.imgsz, options.select, options.threads, Path(folder))
                settings = Settings(
                    record=options.record,
                    pairs=options.pairs,
                    tools=not options.no_tools,
                    until=time.monotonic() + 60 * options.minutes,
                )
                run(found, settings, Path(folder))
            except KeyboardInterrupt:
                stopped = True
    records = recorded(options.record)
    print(table(records))
    pairs = [record["seconds"] for record in records if record["kind"] == "pair"]
    if pairs:
        print(f"a pair took {statistics.median(pairs):.0f} s")
    if stopped:
        print("stopped: the same command goes on from here")
        raise SystemExit(130)


if __name__ == "__main__":
    main()
