from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from deploymark.bench.gate.cpu_sets import choose, cores


def tree(root: Path, siblings: dict[int, str], speeds: dict[int, int] | None = None) -> Path:
    for cpu, text in siblings.items():
        folder = root / f"cpu{cpu}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology" / "thread_siblings_list").write_text(text + "\n")
        if speeds is not None:
            (folder / "cpufreq").mkdir()
            (folder / "cpufreq" / "cpuinfo_max_freq").write_text(f"{speeds[cpu]}\n")
    return root


def test_one_processor_of_each_core(tmp_path: Path) -> None:
    sys = tree(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert cores({0, 1, 2, 3}, sys) == [0, 1]
    assert cores({2, 3}, sys) == [2, 3]


def test_big_cores_only(tmp_path: Path) -> None:
    speeds = {0: 5_000_000, 1: 5_000_000, 2: 3_000_000, 3: 3_000_000}
    sys = tree(tmp_path, {cpu: str(cpu) for cpu in range(4)}, speeds)
    assert cores({0, 1, 2, 3}, sys) == [0, 1]
    assert cores({2, 3}, sys) == [2, 3]


def test_where_the_kernel_tells_nothing_all_are_cores(tmp_path: Path) -> None:
    assert cores({4, 7}, tmp_path) == [4, 7]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="binds no threads here")
def test_as_many_as_threads_or_none() -> None:
    order = random.Random(0)  # noqa: S311 - no secret
    usable = os.sched_getaffinity(0)
    found = choose(1, order)
    assert len(found) == 1
    assert set(found) <= usable
    assert choose(len(usable), order) == tuple(sorted(usable))
    assert choose(len(usable) + 1, order) == ()
