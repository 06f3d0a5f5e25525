"""Progress for people: a live line on a terminal, plain lines elsewhere.

The line is drawn when something happens and never by a timer: nothing may run in the parent while
a worker measures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

Say = Callable[[str], None]
"""Told what is being done, for progress."""

_MINUTE_S = 60
_TOLD_EVERY_S = 20.0


def duration_text(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours} h {minutes:02d} min"


class Progress:
    """Phases of a run and the steps done in each, with the time left of the phase.

    Use as a context manager. ``stream`` is standard error unless given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False)
        self._live: Live | None = None
        self._phase = ""
        self._total = 0
        self._done = 0
        self._started = self._last = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(Text(""), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of ``total`` steps."""
        self._phase, self._total, self._done = name, total, 0
        self._started = self._last = time.monotonic()
        if self._live is None and total:
            self._print(f"{name}: {total}")
        self._draw("")

    def to_come(self, steps: int) -> None:
        """So many steps are to come in this phase: more than thought, perhaps, or fewer."""
        self._total = self._done + steps

    def say(self, what: str) -> None:
        """What is being done, outside of counted steps."""
        if self._live is None:
            self._print(what)
        self._draw(what)

    def note(self, line: str) -> None:
        """Something to know of the run, which stays on the screen as a line."""
        self._print(line)

    def now(self, what: str) -> None:
        """What is being done within a step: shown on a terminal only."""
        self._draw(what)

    def tell(self, what: str) -> None:
        """What is being done within a step that takes minutes: elsewhere a line now and then."""
        now = time.monotonic()
        if self._live is None and now - self._told >= _TOLD_EVERY_S:
            self._told = now
            self._print(f"  {what}")
        self._draw(what)

    def done(self, what: str) -> None:
        """One step done. ``what`` stays on the screen as a line."""
        self._done += 1
        self._last = time.monotonic()
        left = self._left_text()
        self._print(f"[{self._done}/{self._total}] {what}{f' · {left} left' if left else ''}")
        self._draw("")

    def _left_text(self) -> str:
        if not self._done or self._done >= self._total:
            return ""
        each = (self._last - self._started) / self._done
        since = time.monotonic() - self._last
        return duration_text(each * (self._total - self._done) - since)

    def _print(self, line: str) -> None:
        # no markup: names come from outside and may hold brackets
        self._console.print(line, markup=False, soft_wrap=True)

    def _draw(self, what: str) -> None:
        if self._live is None:
            return
        left = self._left_text()
        parts = [
            f"{self._phase} {self._done}/{self._total}" if self._total else self._phase,
            what,
            f"{left} left" if left else "",
        ]
        line = Text(" · ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)
