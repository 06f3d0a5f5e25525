"""Records whose every text is hostile: found by walking over the fields, new ones among them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`|*_[a](javascript:alert(3))&amp;"
CONTROLS = "\n# é漢 \u202egnp.\u2067x\u200f\x00\x1b[31m\ud800\ufffe\r\u2028]]>{{ 7 * 7 }}${7}"
PEOPLE = "@octocat https://evil.invalid www.evil.invalid שלום 12\t</script><!--"
NASTY = MARKUP + CONTROLS + PEOPLE
LONG = NASTY + "x" * 10_000

NAMES_A_CELL = frozenset(
    {"cell", "winner", "leader", "reference", "agreement_reference", "tie", "against"}
)
"""Fields that refer to a cell by its id: they must, or nothing would be found."""

Text = Callable[[str], str]
Record = TypeVar("Record")


def hostile_value(hint: Any, text: Text, name: str = "") -> Any:
    """A value of a type whose texts are ``text(name of the field)``; numbers are 1."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        known = [one for one in arguments if one is not type(None)]
        # a number where one will do: a text among numbers is no figure
        return hostile_value(next((one for one in known if one is int), known[0]), text, name)
    if origin is Literal:
        return arguments[0]
    if origin in {list, tuple, Sequence}:
        inner = [one for one in arguments if one is not Ellipsis]
        return (tuple if origin is tuple else list)(hostile_value(one, text, name) for one in inner)
    if origin in {dict, Mapping}:
        return {text(name): hostile_value(arguments[1], text, name)}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hostile_record(hint, text)
    return {str: text(name), Any: text(name), object: text(name), bool: True, int: 1, float: 1.0}[
        hint
    ]


def hostile_record(cls: type[Record], text: Text, **values: Any) -> Record:
    """An instance with a hostile text in every field that takes one, but for those given."""
    hints = get_type_hints(cls)
    fields = dataclasses.fields(typing.cast("Any", cls))
    filled = {
        field.name: hostile_value(hints[field.name], text, field.name)
        for field in fields
        if field.name not in values and field.name != "schema_version" and field.init
    }
    return cls(**filled, **values)
