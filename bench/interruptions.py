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
from collections.abc import Callable, Iterator
from types import FrameType

_ASKING = ("SIGINT", "SIGTERM", "SIGHUP")
_SWALLOWED_S = 10.0
"""A further signal so many seconds after the first is raised again: the first may have come while
code ran that swallows what is raised (a finalizer), and a person must get out."""

_BASE = 128


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


def _same_again() -> str:
    return "give the same command again"


class _State:
    """What came so far: the first signal, and when one was raised last; and what to tell then.

    ``held`` counts the blocks that a signal waits for, ``waiting`` is the signal that does.
    """

    number = 0
    at = 0.0
    held = 0
    waiting = 0
    advice: Callable[[], str] = staticmethod(_same_again)


def _handle(number: int, _frame: FrameType | None) -> None:
    if _State.held:
        _State.waiting = _State.waiting or number
        return
    now = time.monotonic()
    if _State.number and now - _State.at < _SWALLOWED_S:
        return
    _State.number = _State.number or number
    _State.at = now
    raise Interrupted(signal.Signals(number).name)


def exit_code() -> int:
    """128 and the number of the signal that came, as shells have it: 130, 143, 129."""
    return _BASE + (_State.number or int(signal.SIGINT))


def advise(advice: Callable[[], str]) -> None:
    """What ``tell`` says of a signal from now on: what is kept and how to go on, half a sentence.

    Without any it is "give the same command again": commands write whole files or none.
    """
    _State.advice = staticmethod(advice)


def tell() -> None:
    """Tell by which signal the command was stopped, and how to go on, on standard error.

    A terminal that is closed hears nothing.
    """
    by = f" by {signal.Signals(_State.number).name}" if _State.number else ""
    text = f"stopped{by}; {_State.advice()}\n"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Have a signal that comes within the block raised at its end. For what takes no time.

    A folder that is made and who is to clear it up are one step to whoever interrupts.
    """
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        if not _State.held and (number := _State.waiting):
            _State.waiting = 0
            _handle(number, None)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Have those signals raise ``Interrupted`` within the block; in the main thread alone.

    One that the process was started to ignore (``nohup``) is ignored as before. Once one came they
    stay so: the process is about to end, and those that follow must not cut that short.
    """
    before = {}
    for name in _ASKING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # not the main thread
            before[number] = signal.signal(number, _handle)
    _State.number, _State.at, _State.waiting = 0, 0.0, 0
    advise(_same_again)
    try:
        yield
    finally:
        for number, handler in ({} if _State.number else before).items():
            signal.signal(number, handler)
