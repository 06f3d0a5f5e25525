"""The lines of ``launches.jsonl`` and its like: appended while a run goes on, read again later."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from deploymark.bench.records.files import dump_json, sealed, unreadable, unsealed
from deploymark.bench.records.strict_json import (
    check_launch,
    check_whole,
    checked_launch,
    parse_json,
)
from deploymark.bench.room import writing

LAUNCHES_FILE = "launches.jsonl"

_appending = threading.Lock()
"""A fleet's devices are each followed by a thread, and write into one file."""

Record = Mapping[str, Any]
"""A line of ``launches.jsonl``."""


def append_launch(stream: TextIO, record: Mapping[str, Any]) -> None:
    """Add one line with its checksum to ``launches.jsonl`` or its like, on the disk at return.

    Raises StorageError where the disk takes no more: what was there before is as it was.
    """
    line = (dump_json(sealed(record), indent=None) + "\n").encode()
    stream.flush()
    file = stream.fileno()
    with _appending, writing(Path(stream.name)):
        before = os.lseek(file, 0, os.SEEK_END)
        try:
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise


def read_launches(folder: Path, file: str = LAUNCHES_FILE) -> Iterator[dict[str, Any]]:
    """The finished launches, in order. A last line cut off by a kill is left out.

    Raises BadInputError for a line that is no JSON or no launch, or does not match its checksum.
    """
    path = folder / file
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                values = parse_json(line.decode("utf-8", "replace"))
                record = checked_launch(values)
                if file == LAUNCHES_FILE:
                    check_launch(record)
                yield unsealed(record)
            except ValueError as error:
                raise unreadable(
                    f"{path}:{number}",
                    error,
                    remedy=f"Make what it had again: deploymark run --resume {folder}",
                ) from error


def _record(line: bytes) -> dict[str, Any]:
    values = parse_json(line.decode("utf-8", "replace"))
    if not isinstance(values, dict):
        raise ValueError("the line is no JSON object")  # noqa: TRY004 - as bad JSON is told
    return unsealed(values)


def standing(records: Sequence[Record]) -> list[Record]:
    """The lines of a cell without failed attempts that were made again; all lines of it, in order.

    A launch that failed is followed by a further attempt where what ended it came from outside.
    """
    last = {record["launch"]: record.get("attempt", 0) for record in records}
    return [
        record
        for record in records
        if record["status"] == "ok" or record.get("attempt", 0) == last[record["launch"]]
    ]


def went_well(records: Sequence[Record]) -> bool:
    """Whether a cell was launched and ended well each time, at the last attempt of each launch."""
    return bool(records) and all(record["status"] == "ok" for record in standing(records))


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


def drop_torn_line(
    folder: Path,
    file: str = LAUNCHES_FILE,
    lost: Callable[[Record], bool] = lambda _record: False,
) -> int:
    """Cut off a last line that has no end, so that the next append starts a line of its own.

    Lines that are damaged go to ``<file>.damaged``, and of each cell (on each machine) its last
    line with boxes where they are ``lost``: what they had is made again. Their number.
    """
    path = folder / file
    if not path.exists():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
    bad: set[int] = set()
    boxes: dict[tuple[str, str], tuple[int, Record]] = {}
    for number, line in enumerate(lines):
        try:
            record = _record(line)
        except ValueError:
            bad.add(number)
            continue
        if record.get("predictions"):
            key = str(record.get("cell")), str(record.get("machine", ""))
            boxes[key] = number, record
    bad |= {number for number, record in boxes.values() if lost(record)}
    if bad:
        with writing(path):
            with path.with_name(f"{file}.damaged").open("ab") as stream:
                stream.writelines(lines[number] for number in sorted(bad))
            partial = path.with_name(f".{file}.partial")
            kept = [line for number, line in enumerate(lines) if number not in bad]
            partial.write_bytes(b"".join(kept))
            partial.replace(path)
    elif torn:
        with path.open("r+b") as stream:
            stream.truncate(sum(map(len, lines)))
    return len(bad)
