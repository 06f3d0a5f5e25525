"""What a child's exit code means where it said nothing itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from deploymark.bench.children import memory_limit
from deploymark.bench.records.run import Outcome

_LOG_TAIL_BYTES = 4000


def _tail(log: Path) -> str:
    """The last line of the log that says something, for a crash that left no other word."""
    with contextlib.suppress(OSError):
        text = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""
    return ""


def outcome_of_death(code: int, log: Path, kills: Mapping[str, int]) -> Outcome:
    """What a child's exit code means where it sent neither a result nor a failure.

    ``kills`` are the kernel's counters (``oom_kills``) as the child was started.
    """
    tail = _tail(log)
    said = f"; its last words: {tail}" if tail else ""
    if code == -signal.SIGKILL and any(
        count > kills.get(counter, count) for counter, count in memory_limit.oom_kills().items()
    ):
        return Outcome(
            "out_of_memory",
            f"the kernel killed the process (SIGKILL) as memory ran out (oom_kill){said}",
            "Free memory, choose a smaller imgsz or batch, or set limits.memory_mb.",
        )
    if code in _SENT_BY_OTHERS:
        knows = ", and the kernel counts no kill for want of memory" if kills else ""
        return Outcome(
            "crashed",
            f"the process was killed from outside ({signal.Signals(-code).name}{knows}){said}",
            "Go on with deploymark run --resume, which makes the launch again.",
            outside=True,
        )
    if any(words in tail.lower() for words in ("bad_alloc", "cannot allocate memory")):
        return Outcome(
            "out_of_memory",
            f"the process ended for want of memory{said}",
            "Raise limits.memory_mb, or choose a smaller imgsz or batch.",
        )
    if code < 0:
        with contextlib.suppress(ValueError):
            return Outcome("crashed", f"the process died of {signal.Signals(-code).name}{said}")
    return Outcome("crashed", f"the process ended with exit code {code} and no result{said}")


_SENT_BY_OTHERS = tuple(
    -int(getattr(signal, name))
    for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
    if hasattr(signal, name)
)
"""Exit codes of a process that somebody sent a signal: no runtime sends itself one of these."""
