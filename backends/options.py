"""Export options that are a choice of values, with every default made explicit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.base import UnsupportedError


def resolve_choices(
    backend: str, choices: Mapping[str, tuple[Any, ...]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The export options of a backend: those given, and the first of each other one's choices.

    Raises UnsupportedError for an unknown option or value.
    """
    unknown = sorted(set(options) - set(choices))
    if unknown:
        raise UnsupportedError(
            f"{backend}'s export has no option {', '.join(unknown)}",
            remedy=f"Its options are {', '.join(choices)}.",
        )
    resolved = {name: values[0] for name, values in choices.items()} | dict(options)
    for name, values in choices.items():
        # True equals 1, and neither stands for the other
        is_bool = isinstance(values[0], bool)
        if resolved[name] not in values or isinstance(resolved[name], bool) != is_bool:
            allowed = ", ".join(str(value) for value in values)
            raise UnsupportedError(
                f"{backend}'s option {name} is one of {allowed}, got {resolved[name]!r}"
            )
    return resolved
