"""What is installed, answered without importing it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def installed_version(*distributions: str) -> str | None:
    """Version of the first of these distributions that is installed, None if none is."""
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def missing(modules: Iterable[str]) -> tuple[str, ...]:
    """Those of these top-level modules that this interpreter cannot find."""
    return tuple(module for module in modules if importlib.util.find_spec(module) is None)
