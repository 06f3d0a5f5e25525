"""JSON that others may have written: finite figures, no endless nesting, and records of a shape."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any, Never, TypeVar

import pydantic

Record = TypeVar("Record")


def parse_json(text: str) -> Any:
    """The JSON of ``text``. Raises ValueError, also for NaN, infinity and endless nesting."""
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(word: str) -> Never:
    raise ValueError(f"{word} is no figure")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite figure")
    return value


@functools.cache
def _adapter(cls: type[Any]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(cls)


def shaped(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """``values`` as the dataclass ``cls``. Raises ValueError: which field, and what is there."""
    try:
        record: Record = _adapter(cls).validate_python(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        got = repr(first["input"])
        shown = "" if first["type"] == "missing" else f" (got {got[:60]})"
        raise ValueError(f"{place}: {first['msg'].lower()}{shown}") from None
    return record


def checked_launch(record: Any) -> dict[str, Any]:
    """A line of ``launches.jsonl`` or its like.

    Raises ValueError where it is no mapping, or holds anything but numbers among its times.
    """
    if not isinstance(record, dict):
        raise _wrong("the line", "a mapping", record)
    for name in ("cell", "status"):
        if not isinstance(record.get(name, ""), str):
            raise _wrong(name, "text", record[name])
    for name, value in record.items():
        if not name.endswith("_ns") or value is None:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) or not isinstance(item, (int, float)):
                raise _wrong(name, "numbers", item)
    return record


def _wrong(name: str, expected: str, got: object) -> ValueError:
    return ValueError(f"{name}: expected {expected} (got {str(got)[:60]!r})")
