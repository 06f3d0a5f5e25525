"""Waiting until a process is at rest: threads that spin for work after an inference slow others.

ONNX Runtime's pool spins for some 50 ms after the last inference, LLVM's OpenMP for 200 ms
(``KMP_BLOCKTIME``). Where processes take turns on the same processors, the one that has had its
turn must be at rest before the other one begins. Python 3.10 and the standard library alone: the
worker's side.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SETTLE_S = 0.3
"""Longest wait: above LLVM's 200 ms. Threads that spin on and on are not waited for."""

STEP_S = 0.001
RESTING_SHARE = 0.1
"""A process that used less of a processor than this in a step is at rest."""


def settle(
    *,
    max_s: float = SETTLE_S,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu: Callable[[], int] = time.process_time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until this process's threads use no processor; seconds waited, ``max_s`` at most."""
    began = before = clock()
    used = cpu()
    while (before - began) / 1e9 < max_s:
        sleep(STEP_S)
        now, using = clock(), cpu()
        resting = using - used < RESTING_SHARE * (now - before)
        before, used = now, using
        if resting:
            break
    return (before - began) / 1e9
