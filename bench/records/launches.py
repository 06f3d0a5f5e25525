"""The lines of ``launches.jsonl`` and its like: appended while a run goes on, read again later."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from deploymark.bench.records.files import dump_json, unreadable
from deploymark.bench.records.strict_json import (
    check_launch,
    check_whole,
    checked_launch,
    parse_json,
)

LAUNCHES_FILE = "launches.jsonl"

Record = Mapping[str, Any]
"""A line of ``launches.jsonl``."""


def append_launch(stream: TextIO, record: Mapping[str, Any]) -> None:
    """Add one line to ``launches.jsonl`` or its like, on the disk before this returns."""
    stream.write(dump_json(record, indent=None) + "\n")
    stream.flush()
    os.fsync(stream.fileno())


def read_launches(folder: Path, file: str = LAUNCHES_FILE) -> Iterator[dict[str, Any]]:
    """The finished launches, in order. A last line cut off by a kill is left out.

    Raises BadInputError for a line that is no JSON, or no launch.
    """
    path = folder / file
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                record = checked_launch(parse_json(line))
                if file == LAUNCHES_FILE:
                    check_launch(record)
                yield record
            except ValueError as error:
                raise unreadable(f"{path}:{number}", error) from error


def check_launches(folder: Path) -> None:
    """Raise BadInputError where a launch lacks what figures are made of: to go on with a run."""
    for number, record in enumerate(read_launches(folder), 1):
        try:
            check_whole(record)
        except ValueError as error:
            raise unreadable(f"{folder / LAUNCHES_FILE}:{number}", error) from error


def counted(records: Sequence[Record], *, disturbed: bool) -> list[Record]:
    """The launches of a cell that make its figures, of all lines that it has, in order.

    Those that finished undisturbed. In a cell that is marked ``disturbed`` each launch counts, by
    its last attempt: the undisturbed one where there is one, as none follows it. So it is where
    every launch was disturbed, too: the cell is ``invalid`` then, and its figures show how far off.
    """
    done = [record for record in records if record.get("status") == "ok"]
    calm = [record for record in done if not record.get("disturbed")]
    if calm and not disturbed:
        return calm
    return list({record.get("launch"): record for record in done}.values())


def drop_torn_line(folder: Path, file: str = LAUNCHES_FILE) -> None:
    """Cut off a last line that has no end, so that the next append starts a line of its own."""
    path = folder / file
    if not path.exists():
        return
    whole = path.read_bytes()
    keep = whole.rfind(b"\n") + 1
    if keep != len(whole):
        with path.open("r+b") as stream:
            stream.truncate(keep)
