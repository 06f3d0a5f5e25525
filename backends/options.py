"""Export options with every default made explicit: a choice of values, or any that is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from deploymark.backends.base import UnsupportedError


@dataclasses.dataclass(frozen=True)
class OpenOption:
    """An option that is no choice of a few values. ``expected`` says in words which are right."""

    default: Any
    expected: str
    is_right: Callable[[Any], bool]


def resolve_choices(
    backend: str,
    choices: Mapping[str, tuple[Any, ...]],
    options: Mapping[str, Any],
    others: Mapping[str, OpenOption] | None = None,
) -> dict[str, Any]:
    """The export options of a backend: those given, and the first of each other one's choices.

    ``others`` are options beside those with a choice of values. Raises UnsupportedError for an
    unknown option or value.
    """
    others = others or {}
    known = [*choices, *others]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UnsupportedError(
            f"{backend}'s export has no option {', '.join(unknown)}",
            remedy=f"Its options are {', '.join(known)}.",
        )
    defaults = {name: values[0] for name, values in choices.items()}
    defaults |= {name: other.default for name, other in others.items()}
    resolved = defaults | dict(options)
    for name, values in choices.items():
        # True equals 1, and neither stands for the other
        is_bool = isinstance(values[0], bool)
        if resolved[name] not in values or isinstance(resolved[name], bool) != is_bool:
            allowed = ", ".join(str(value) for value in values)
            raise UnsupportedError(
                f"{backend}'s option {name} is one of {allowed}, got {resolved[name]!r}"
            )
    for name, other in others.items():
        if not other.is_right(resolved[name]):
            raise UnsupportedError(
                f"{backend}'s option {name} is {other.expected}, got {resolved[name]!r}"
            )
    return resolved


def is_count(value: object) -> bool:
    """Whether it is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_share(value: object) -> bool:
    """Whether it is a number between 0 and 1, neither of them."""
    return isinstance(value, float) and 0 < value < 1
