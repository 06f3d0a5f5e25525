"""Reading and writing the JSON of records: whole files, replaced in one step.

A figure that was not measured is ``None``, never 0 and never NaN: ``json`` is told to refuse NaN.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.strict_json import parse_json


def dump_json(value: Any, *, indent: int | None = 1) -> str:
    """JSON text. Raises ValueError for NaN and infinity, which no reader of a run may meet.

    Names of files may have bytes that are no text (``os.fsdecode``): those are escaped.
    """
    return printable(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False))


def printable(text: str) -> str:
    """Text that any encoding takes; what stands for bytes of file names is escaped, as in JSON."""
    return text.encode(errors="backslashreplace").decode()


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` in one step, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(printable(text), encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises FileNotFoundError where there is none, BadInputError where it cannot be read.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_beside(path: Path, kind: type[Any]) -> Any:
    """The JSON of a file that not every run has: an empty ``kind`` where there is none.

    Raises BadInputError where it cannot be read, or is of another kind.
    """
    try:
        value = read_json(path)
    except FileNotFoundError:
        return kind()
    if not isinstance(value, kind):
        raise BadInputError(f"{path} holds no JSON {kind.__name__}")
    return value


def known(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that ``cls`` has a field for: later versions may add columns."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names}


def unreadable(path: Path | str, error: Exception, *, remedy: str = "") -> BadInputError:
    """What to raise for a file (or ``file:line``) whose content is no record."""
    return BadInputError(f"{path} cannot be read: {error}", remedy=remedy)


def check_version(path: Path, found: object, ours: int, *, remedy: str = "") -> None:
    """Raise BadInputError for a file of another schema version than we read."""
    if found != ours:
        raise BadInputError(
            f"{path} has schema version {found!r}, this Deploymark reads {ours}", remedy=remedy
        )
