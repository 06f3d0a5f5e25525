"""Reading and writing the JSON of records: whole files, replaced in one step.

A figure that was not measured is ``None``, never 0 and never NaN: ``json`` is told to refuse NaN.

A record may carry its own checksum as its last key, ``crc``: one that does not match is refused, so
that no flipped bit changes a figure in silence. One without, of an older version, is read as it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.strict_json import parse_json
from deploymark.bench.room import writing

CRC = "crc"
"""The key of a record's checksum."""

_CRC_MARK = "crc32:"


def dump_json(value: Any, *, indent: int | None = 1) -> str:
    """JSON text. Raises ValueError for NaN and infinity, which no reader of a run may meet.

    Names of files may have bytes that are no text (``os.fsdecode``): those are escaped.
    """
    return printable(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False))


def printable(text: str) -> str:
    """Text that any encoding takes; what stands for bytes of file names is escaped, as in JSON."""
    return text.encode(errors="backslashreplace").decode()


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` in one step, so that no reader sees half of it.

    Raises StorageError where the disk takes no more; what lay there is untouched then.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            partial.write_text(printable(text), encoding="utf-8")
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def _crc(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{_CRC_MARK}{zlib.crc32(text.encode()):08x}"


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its checksum, over the canonical JSON of all else, as its last key."""
    plain = json.loads(json.dumps(dict(values), allow_nan=False))
    plain.pop(CRC, None)
    return {**plain, CRC: _crc(plain)}


def write_sealed(path: Path, record: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write a record with its checksum, or a list of records each with its own.

    Raises StorageError where the disk takes no more.
    """
    value = sealed(record) if isinstance(record, Mapping) else [sealed(row) for row in record]
    write_text_atomically(path, dump_json(value) + "\n")


def unsealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record without its checksum, where it has one. Raises ValueError where that is another.

    The last value tells a checksum by its mark as well: the flipped bit may be in the key.
    """
    plain = dict(values)
    last = next(reversed(plain), None)
    marked = last is not None and str(plain[last]).startswith(_CRC_MARK)
    if not marked and CRC not in plain:
        return plain
    found = plain.pop(CRC, None)
    if found != _crc(plain):
        raise ValueError("its content does not match its checksum: the file is damaged")
    return plain


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sum(path: Path, sha256: str | None) -> None:
    """Raise BadInputError for a file of other bytes than were written; ``None`` is not known."""
    if sha256 is not None and sha256_of(path) != sha256:
        raise BadInputError(
            f"{path} cannot be read: it does not match its checksum in the run: it is damaged",
            remedy=f"Make it again of the launches: deploymark run --resume {path.parent}",
        )


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

    Raises BadInputError where it cannot be read, is of another kind, or does not match a checksum.
    """
    try:
        value = read_json(path)
    except FileNotFoundError:
        return kind()
    if not isinstance(value, kind):
        raise BadInputError(f"{path} holds no JSON {kind.__name__}")
    try:
        if isinstance(value, dict):
            return unsealed(value)
        rows = value if isinstance(value, list) else []
        return [unsealed(row) if isinstance(row, dict) else row for row in rows] or value
    except ValueError as error:
        again = f"Make it again of the launches: deploymark run --resume {path.parent}"
        raise unreadable(path, error, remedy=again) from error


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
