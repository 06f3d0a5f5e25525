"""Mutations of bytes, and of the values of a JSON document. The same seed gives the same ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

TOKENS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 40,
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"[" * 3000,
    b"&a [*a, *a]",
    b"<<: *x",
    b"!!python/object:os.system",
    b"\xff" * 12,
    b"\x00" * 8,
    b"\x80" * 12,
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\t",
    b": ",
    b"- ",
    b"0x7fffffff",
    b"\xed\xa0\x80",
    b"../../../etc/passwd",
)

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    10**400,
    1e308,
    -0.0,
    "",
    "text",
    "\ud800",
    "\x00",
    "9" * 50,
    [],
    [None],
    [[1]],
    {},
    {"a": None},
    "x" * 10_000,
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` after one to four changes: bits, cuts, copies, tokens."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(found) + 1)
        end = min(len(found), place + rng.choice((1, 2, 4, 16, 200)))
        kind = rng.randrange(6)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[place:end]
        elif kind == 2:
            found[place:place] = found[place:end] * rng.choice((1, 2, 50))
        elif kind == 3:
            found[place:end] = rng.choice(TOKENS)
        elif kind == 4:
            found[place:place] = rng.choice(TOKENS)
        else:
            del found[place:]
    return bytes(found)


def _places(value: Any, into: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        into.append((value, key))
        if isinstance(inner, (dict, list)):
            _places(inner, into)


def mutated_document(document: Any, rng: random.Random) -> Any:
    """A copy of ``document`` in which one to three values are others, or are gone."""
    found = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        if isinstance(found, (dict, list)):
            _places(found, places)
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(list(holder))] = copy.deepcopy(holder[key])
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return found


def mutated_json(data: bytes, rng: random.Random) -> bytes:
    """The JSON in ``data`` with other values, or with other bytes."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    document = mutated_document(json.loads(data), rng)
    return json.dumps(document, allow_nan=True).encode()


def mutated_lines(data: bytes, rng: random.Random) -> bytes:
    """Lines of JSON, one of them with other values."""
    lines = data.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = mutated_json(lines[place], rng)
    return b"\n".join(lines) + b"\n"
