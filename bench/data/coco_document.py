"""A COCO JSON file as Python values, and what of them is a number or an id."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.errors import BadInputError
from deploymark.bench.text_files import read_text

Identity = int | str

_LISTS = ("images", "annotations", "categories")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MOST_DIGITS = 40
_YES_NO = {"0": False, "1": True, "false": False, "true": True}


def read_document(path: Path) -> Mapping[str, list[Any]]:
    """The JSON of a file, with its three lists. Raises BadInputError where it is no COCO JSON."""
    try:
        document = json.loads(read_text(path))
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}",
            remedy="Export the file anew; perhaps it was cut off.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON: {error}", remedy="Export the file anew.") from error
    for key in _LISTS:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise BadInputError(
                f"{path}: is no COCO JSON: it has no list `{key}`{_guess(document)}",
                remedy="Give an instances_*.json with images, annotations and categories.",
            )
    result: Mapping[str, list[Any]] = document
    return result


def _guess(document: Any) -> str:
    """What other JSON it looks like."""
    if isinstance(document, list):
        first = document[0] if document else None
        results = isinstance(first, dict) and "score" in first and "bbox" in first
        return "; it looks like predictions" if results else ""
    if isinstance(document, dict) and "shapes" in document:
        return "; it looks like labelme's"
    return ""


def identity(value: Any) -> Identity | None:
    """An id: a whole number or text; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return value  # of any size: a float would not hold it
    return int(value) if math.isfinite(value) and value == int(value) else None


def number(value: Any) -> float | None:
    """A finite number, or text that plainly is one; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        plain = len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text)
        value = float(text) if plain else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def yes_no(value: Any) -> bool | None:
    """0, 1, true or false, or text that says so; None for anything else."""
    return _YES_NO.get(str(value).strip().lower()) if isinstance(value, (bool, int, str)) else None


def size_said(record: Mapping[str, Any]) -> tuple[float | None, float | None] | None:
    """Width and height of an entry of ``images``, each None where it says none.

    None where it says something that is no number.
    """
    said = [record.get(key) for key in ("width", "height")]
    numbers = [None if value is None else number(value) for value in said]
    if any(found is None and value is not None for found, value in zip(numbers, said, strict=True)):
        return None
    return numbers[0], numbers[1]
