"""The child's end of a job: read it, do it, send back messages, never outlive the parent.

Python 3.10 and the standard library alone: it runs under foreign interpreters too. The job comes as
one line of JSON on standard input; messages leave as lines of JSON on what was standard output,
which is then turned over to standard error, so that a runtime's own prints cannot break them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploymark.backends.base import (
    BackendError,
    DeploymarkError,
    ExportError,
    InputError,
    LoadError,
    UnavailableError,
    UnsupportedError,
)

Message = dict[str, Any]
Send = Callable[[Message], None]

_STATUS_OF_ERROR: tuple[tuple[type[BackendError], str], ...] = (
    (UnsupportedError, "unsupported"),
    (UnavailableError, "unavailable"),
    (ExportError, "export_failed"),
    (LoadError, "load_failed"),
    (InputError, "crashed"),
)

_OUT_OF_MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "cannot allocate memory",
    "can't allocate memory",
    "out of memory",
    "failed to allocate memory",
    "not enough memory",
    "failed to map segment from shared object",
)
"""How a failed allocation is worded (C++ standard library, PyTorch, CUDA, ONNX Runtime, glibc)."""

_LOADING_CPU_S = 5.0
"""Seconds of processor time that loading numpy never takes, not on a slow board either."""

_PR_SET_PDEATHSIG = 1
"""prctl(2), linux/prctl.h."""

_READ_BYTES = 1 << 16


class PhaseError(Exception):
    """An error that is no ``DeploymarkError``, with the status that its phase gives it."""

    def __init__(self, status: str, doing: str, cause: BaseException) -> None:
        super().__init__(f"{doing}: {type(cause).__name__}: {cause}")
        self.status = status
        self.cause = cause


@contextlib.contextmanager
def phase(status: str, doing: str) -> Iterator[None]:
    """Give ``status`` to an unforeseen error that leaves the block; ``doing`` says what failed."""
    try:
        yield
    except (DeploymarkError, MemoryError, PhaseError):
        raise
    except Exception as error:
        raise PhaseError(status, doing, error) from error


_commands: queue.SimpleQueue[Message] = queue.SimpleQueue()


def next_command() -> Message:
    """What the parent asks of a live child next; waits asleep."""
    return _commands.get()


def is_told() -> bool:
    """Whether the parent has asked for something that ``next_command`` has not given yet."""
    return not _commands.empty()


def _end_with_parent() -> None:
    """Leave when the parent's end of standard input closes.

    What comes on standard input meanwhile are commands, a line of JSON each.
    """

    def watch() -> None:
        rest = b""
        while piece := os.read(0, _READ_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                _commands.put(json.loads(line))
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _die_with_parent() -> None:
    """Have the kernel end this process with the one that started it: Linux."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(*bounds_mb: int | None) -> bool:
    """Bound the private memory of this process, and offer it to the kernel first if memory ends.

    The tightest of the bounds (MiB) counts. Whether there is room for numpy.

    RLIMIT_DATA counts private writable mappings (Linux 4.7, setrlimit(2)); RLIMIT_AS would count
    the large reservations that runtimes make and never touch.
    """
    if sys.platform != "linux":
        return True
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    bounds = [bound for bound in bounds_mb if bound is not None]
    if not bounds:
        return True
    import resource

    limit = min(bounds) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return _room_for_numpy()


def _room_for_numpy() -> bool:
    """Whether numpy can be loaded, tried in a process beside this one.

    Its OpenBLAS takes a buffer of 32 MiB at the first product of matrices, which is in the import,
    and asks for it again for ever where there is no room (``blas_memory_alloc``): it would be seen
    as a timeout. No Python runs meanwhile, so what ends it is a signal's default action.
    """
    trial = os.fork()
    if trial == 0:
        _die_with_parent()
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, _LOADING_CPU_S)
        with contextlib.suppress(Exception):  # what else may be wrong is told by who needs it
            import numpy as np  # noqa: F401
        os._exit(0)
    _, status = os.waitpid(trial, 0)
    return not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF)


def _read_job() -> Message:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, _READ_BYTES)
        if not piece:
            raise SystemExit(2)
        line += piece
    job: Message = json.loads(line)
    return job


def failure(error: BaseException) -> Message:
    """The message that a failed job ends with: status, reason, remedy."""
    cause = error.cause if isinstance(error, PhaseError) else error
    text = str(cause).lower()
    if isinstance(cause, MemoryError) or any(words in text for words in _OUT_OF_MEMORY_WORDS):
        return {
            "event": "failed",
            "status": "out_of_memory",
            "reason": f"memory ran out: {error}",
            "remedy": "Raise limits.memory_mb, or choose a smaller imgsz or batch.",
        }
    if isinstance(error, PhaseError):
        return {"event": "failed", "status": error.status, "reason": str(error), "remedy": ""}
    if isinstance(error, DeploymarkError):
        known = (status for kind, status in _STATUS_OF_ERROR if isinstance(error, kind))
        status = next(known, "bad_input")
        return {
            "event": "failed",
            "status": status,
            "reason": error.message,
            "remedy": error.remedy,
        }
    reason = f"{type(error).__name__}: {error}"
    return {"event": "failed", "status": "crashed", "reason": reason, "remedy": ""}


def serve(work: Callable[[Message, Send], Message]) -> None:
    """Do one job and exit. ``work`` gets the job and a function that sends progress messages.

    What it returns is sent as the result. An error is sent as a typed failure, its traceback going
    to standard error, which is the log.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = _read_job()
    _die_with_parent()
    has_room = _limit_memory(job.get("memory_mb"), job.get("memory_limit_mb"))
    _end_with_parent()

    def send(message: Message) -> None:
        stream.write(json.dumps(message, allow_nan=False) + "\n")
        stream.flush()

    try:
        if not has_room:
            raise MemoryError("too little for the buffers of numpy")
        result = work(job, send)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is sent as a typed failure
        import traceback

        traceback.print_exc()
        send(failure(error))
        code = 1
    else:
        send({"event": "result", **result})
        code = 0
    sys.stderr.flush()
    # Runtimes may hang or crash in their teardown: the result is out, nothing else is wanted.
    os._exit(code)
