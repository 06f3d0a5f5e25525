"""What a child's exit code means where it said nothing itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil

from deploymark.bench.children import memory_limit
from deploymark.bench.records.outcomes import Outcome

_LOG_TAIL_BYTES = 4000

_RETRIED_BYTES = 32 << 20
"""OpenBLAS asks for a buffer of this size again and again (blas_memory_alloc)."""


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


def outcome_of_timeout(pid: int, timeout_s: float) -> Outcome:
    """What it means that a child, which is still there, was not done after so many seconds.

    One that fills its limit of memory waits for memory: an allocator that asks again for ever.
    """
    left = _room_in_limit(pid)
    if left is not None and left < _RETRIED_BYTES:
        return Outcome(
            "out_of_memory",
            f"no end after {timeout_s:g} s, with {max(left, 0) >> 20} MiB left of the memory that "
            "it may take: something asks again and again for more",
            "Raise limits.memory_mb, or choose a smaller imgsz or batch.",
        )
    return Outcome(
        "timeout",
        f"no end after {timeout_s:g} s",
        "Raise limits.launch_timeout_s or limits.build_timeout_s if it is only slow.",
    )


def _room_in_limit(pid: int) -> int | None:
    """Bytes that a process may still take of its RLIMIT_DATA; None without a limit (or Linux)."""
    limit_of = getattr(psutil.Process, "rlimit", None)
    if limit_of is None:
        return None
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process = psutil.Process(pid)
        limit, _ = limit_of(process, psutil.RLIMIT_DATA)
        if limit != psutil.RLIM_INFINITY:
            return int(limit) - int(process.memory_info().data)
    return None


_SENT_BY_OTHERS = tuple(
    -int(getattr(signal, name))
    for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
    if hasattr(signal, name)
)
"""Exit codes of a process that somebody sent a signal: no runtime sends itself one of these."""
