"""Reading the kernel's files: one number, and what its errors mean."""

from __future__ import annotations

from pathlib import Path

from deploymark.bench.meters.base import GarbageError, MeterDiedError


def text_of(path: Path) -> str:
    """What a file says, stripped; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def number_of(path: Path) -> float:
    """The number that a file holds. Raises MeterDiedError and GarbageError."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise MeterDiedError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return float(int(text))
    except ValueError as error:
        raise GarbageError(f"{path} holds {text[:40]!r}") from error


def may_read(path: Path) -> bool:
    """Whether a file can be opened: asked of the kernel, as security modules forbid it, too."""
    try:
        with path.open("rb"):
            return True
    except PermissionError:
        return False
    except OSError:
        return True
