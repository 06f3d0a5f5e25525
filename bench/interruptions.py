r"""A signal that asks this process to end: one exception, once, whatever comes after it.

SIGINT (Ctrl-C), SIGTERM (a cancelled job of CI) and SIGHUP (a closed terminal) end a command in the
same way: its children are stopped, what there is is written, and it says how to go on. Signals that
follow while it does so change nothing. SIGQUIT (Ctrl-\ on a terminal) and SIGKILL are left alone:
they end it at once, with its children, and a run goes on from what is on disk.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

_ASKING = ("SIGINT", "SIGTERM", "SIGHUP")
_SWALLOWED_S = 10.0
"""A further signal so many seconds after the first is raised again: the first may have come while
code ran that swallows what is raised (a finalizer), and a person must get out."""

_BASE = 128


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


class _State:
    """What came so far: the last signal that was raised, and when."""

    number = 0
    at = 0.0


def _handle(number: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    if _State.number and now - _State.at < _SWALLOWED_S:
        return
    _State.number = _State.number or number
    _State.at = now
    raise Interrupted(signal.Signals(number).name)


def exit_code() -> int:
    """128 and the number of the signal that came, as shells have it: 130, 143, 129."""
    return _BASE + (_State.number or int(signal.SIGINT))


def came() -> str:
    """The name of the signal that came; SIGINT where an interrupt was raised without one."""
    return signal.Signals(_State.number or signal.SIGINT).name


def say(text: str) -> None:
    """Tell how to go on. A terminal that is closed hears nothing."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Have those signals raise ``Interrupted`` within the block; in the main thread alone.

    One that the process was started to ignore (``nohup``) is ignored as before.
    """
    before = {}
    for name in _ASKING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # not the main thread
            before[number] = signal.signal(number, _handle)
    _State.number, _State.at = 0, 0.0
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
