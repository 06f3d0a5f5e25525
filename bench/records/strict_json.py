"""JSON that others may have written: finite figures, no endless nesting, and records of a shape."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Never, TypeVar, cast

import pydantic

Record = TypeVar("Record")

MAX_DIGITS = 25
"""Of a whole number: 64 bits have 20."""


def parse_json(text: str) -> Any:
    """The JSON of ``text``. Raises ValueError, also for NaN, infinity and endless nesting."""
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(word: str) -> Never:
    raise ValueError(f"{word} is no figure")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite figure")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is no figure")
    return int(text)


@functools.cache
def _adapter(cls: type[Any]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(cls)


def shaped(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """``values`` as the dataclass ``cls``. Raises ValueError: which field, and what is there."""
    try:
        record: Record = _adapter(cast("Any", cls)).validate_python(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        got = repr(first["input"])
        shown = "" if first["type"] == "missing" else f" (got {got[:60]})"
        raise ValueError(f"{place}: {first['msg'].lower()}{shown}") from None
    return record


_TEXTS = frozenset(
    {"cell", "status", "reason", "remedy", "started", "predictions", "e2e_reason", "source", "kind"}
)
_MAPPINGS = frozenset({"warmup", "conditions", "outputs", "runtime_settings", "executed_precision"})
_UNITS = ("_ns", "_ms", "_s", "_bytes", "_w", "_per_image", "_per_wh", "_hours", "_us")
"""Endings of what is a number, or a list of numbers."""


def checked_launch(record: Any) -> dict[str, Any]:
    """A line of ``launches.jsonl`` or its like.

    Raises ValueError where it is no mapping, or a figure in it is no number.
    """
    if not isinstance(record, dict):
        raise _wrong("the line", "a mapping", record)
    for name, value in record.items():
        if value is None:
            continue
        if name in _TEXTS and not isinstance(value, str):
            raise _wrong(name, "text", value)
        if name in {"launch", "attempt"} and (isinstance(value, bool) or type(value) is not int):
            raise _wrong(name, "a whole number", value)
        if name in _MAPPINGS and not isinstance(value, dict):
            raise _wrong(name, "a mapping", value)
        if name == "disturbed" and not isinstance(value, (list, bool)):
            raise _wrong(name, "a list of sentences", value)
        _check_numbers(name, value)
        if name in _MAPPINGS:
            for inner, more in value.items():
                _check_numbers(f"{name}.{inner}", more)
    return record


def _check_numbers(name: str, value: Any) -> None:
    if not name.endswith(_UNITS) or value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise _wrong(name, "numbers", item)


def check_present(record: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ValueError for the first of ``names`` that the record has not, or has as null."""
    for name in names:
        if record.get(name) is None:
            raise ValueError(f"{name} is missing")


def check_launch(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a launch does not tell its cell or, that it ended well, its times."""
    check_present(record, ("cell", "status"))
    times = record.get("latency_ns")
    if record.get("status") == "ok" and (not isinstance(times, list) or not times):
        raise _wrong("latency_ns", "a list of times", times)


def check_machine(machine: Mapping[str, Any]) -> None:
    """Raise ValueError where a count of the machine of ``run.json`` is no number."""
    for name in ("cores_physical", "cores_logical", "cores_usable", "memory_bytes"):
        value = machine.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise _wrong(f"machine.{name}", "a number", value)
    for name in ("gpus", "cpu_flags"):
        if not isinstance(machine.get(name) or [], list):
            raise _wrong(f"machine.{name}", "a list", machine[name])


def check_whole(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a launch lacks what its cell's figures are made of."""
    check_launch(record)
    check_present(record, ("launch", "status"))
    if record["status"] == "ok":
        check_present(record, ("e2e_ns", "cold_ms", "load_ms", "import_ms", "warmup"))
        if not isinstance(record["e2e_ns"], list):
            raise _wrong("e2e_ns", "a list of times", record["e2e_ns"])
        if not isinstance(record["warmup"], dict):
            raise _wrong("warmup", "a mapping", record["warmup"])


def _wrong(name: str, expected: str, got: object) -> ValueError:
    return ValueError(f"{name}: expected {expected} (got {str(got)[:60]!r})")
