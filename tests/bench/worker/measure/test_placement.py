from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploymark.bench.worker.measure.placement import busiest, confine, place

ROOT = Path(__file__).resolve().parents[4]

CHILD = """
import os, threading
from deploymark.bench.worker.measure.conditions import thread_times
from deploymark.bench.worker.measure.placement import busiest, confine, place
cpu = min(os.sched_getaffinity(0))
assert confine([cpu])
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
before = thread_times()
sum(range(1_000_000))
assert place([cpu], [busiest(before, thread_times())])
print(all(os.sched_getaffinity(int(name)) == {cpu} for name in thread_times()))
stop.set()
"""


def test_the_busiest_comes_first_and_new_threads_count() -> None:
    before = {"10": (100, 0), "11": (100, 0)}
    after = {"10": (150, 0), "11": (900, 0), "12": (400, 0)}
    assert busiest(before, after) == ["11", "12", "10"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds no threads here")
def test_all_threads_of_a_process_keep_to_their_processors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr


def test_without_processors_nothing_is_bound() -> None:
    assert not confine(())
    assert not place((), [])
