"""An external meter: any command that prints its readings, one a line.

A USB meter, a bench supply, a smart plug, a shunt on a board's supply: whatever a program can read.
A line is a number, watts or joules as the matrix says; its time is the time it comes at. Lines
before the first number (a heading) are passed over, a few of them.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from typing import IO, cast

from deploymark.bench.meters.base import (
    Facts,
    GarbageError,
    Meter,
    MeterDiedError,
    MeterError,
    Scope,
    Unit,
)

EXTERNAL = "external"
"""The name of the meter that a matrix gives."""

_HEADING_LINES = 5
_LINE_LENGTH = 60
_END_S = 2.0


class ExternalMeter(Meter):
    """A command that is running. Raises MeterError where it cannot be started."""

    def __init__(
        self,
        command: Sequence[str],
        unit: Unit,
        *,
        scope: Scope = "wall",
        name: str = "",
        period_s: float | None = None,
    ) -> None:
        super().__init__(
            Facts(
                name=EXTERNAL,
                source=name or f"external meter ({command[0]})",
                kind="counter" if unit == "j" else "integrated power",
                scope=scope,
                unit=unit,
                every_line=True,
                told_period_s=period_s,
            )
        )
        self._seen = False
        try:
            # In the recorder's own session: it ends with the recorder, however that ends.
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        except (OSError, ValueError) as error:
            raise MeterError(f"{command[0]} cannot be started: {error}") from error

    def read(self) -> float:
        """The next line's number. Raises MeterDiedError at the end, GarbageError for no number."""
        stream = cast("IO[bytes]", self._process.stdout)
        passed = 0
        while line := stream.readline():
            text = line.decode("utf-8", "replace").strip()
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                self._seen = True
                return value
            passed += 1
            if self._seen or passed > _HEADING_LINES:
                raise GarbageError(repr(text[:_LINE_LENGTH]))
        try:
            code = self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            raise MeterDiedError("it closed its output") from None
        raise MeterDiedError(f"it ended with exit code {code}")

    def close(self) -> None:
        """End the command."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast("IO[bytes]", self._process.stdout).close()
