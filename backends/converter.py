"""A converter that is a program of its own: run to its end, in a folder that it may litter."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploymark.backends.errors import ExportError

LIMIT_S = 900
"""When to give one up, which needs seconds for a detector."""


def run(command: Sequence[str], folder: Path, *, called: str) -> subprocess.CompletedProcess[str]:
    """What it ended with and what it printed. ``called`` is its name in messages.

    Raises ExportError where it cannot be started, or does not finish within ``LIMIT_S``.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{called} did not finish within {LIMIT_S} s") from error
    except OSError as error:
        raise ExportError(f"{called} cannot be started: {error}") from error


def failure(called: str, done: subprocess.CompletedProcess[str], said: str) -> ExportError:
    """The error of one that made nothing, with the last lines that it ``said``."""
    lines = said.strip().splitlines()
    return ExportError(f"{called} ended with {done.returncode}: {'; '.join(lines[-3:])}")
