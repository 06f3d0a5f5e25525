from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploymark.bench.worker.measure.memory import (
    Held,
    Peaks,
    data_bytes,
    held,
    peak_rss_bytes,
    rss_bytes,
    sizes_in,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHILD = "from deploymark.bench.worker.measure.memory import peak_rss_bytes as p; print(p())"

ROLLUP = """\
55bb5362c000-7fff4e03c000 ---p 00000000 00:00 0                          [rollup]
Rss:                1728 kB
Pss:                 310 kB
Pss_Dirty:           112 kB
Pss_Anon:            112 kB
Pss_File:            198 kB
Pss_Shmem:             0 kB
Shared_Clean:       1576 kB
Shared_Dirty:          0 kB
Private_Clean:        40 kB
Private_Dirty:       112 kB
Referenced:         1728 kB
Anonymous:           112 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    2048 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                0 kB
"""
"""/proc/self/smaps_rollup of Linux 6.18, with one huge page added."""

STATUS = """\
Name:	python
VmPeak:	  231912 kB
VmHWM:	   55040 kB
VmRSS:	   54912 kB
VmData:	   72148 kB
Threads:	1
Cpus_allowed:	3
"""


@linux
def test_memory_that_is_touched_is_resident() -> None:
    before = rss_bytes()
    pages = np.ones(64 << 20, np.uint8)
    after = rss_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 60 << 20
    del pages
    peak = peak_rss_bytes()
    assert peak is not None
    assert peak >= after - (2 << 20)  # the kernel counts in batches, a thread each


@pytest.mark.heavy
@linux
def test_a_childs_peak_is_its_own() -> None:
    pages = np.ones(256 << 20, np.uint8)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 << 20
    assert pages.all()


def test_what_the_kernel_tells_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "smaps_rollup").write_text(ROLLUP)
    assert held(tmp_path) == Held(1728 << 10, 310 << 10, (40 + 112 + 2048) << 10)


def test_a_kernel_that_tells_less_gives_no_figure(tmp_path: Path) -> None:
    assert held(tmp_path) is None
    (tmp_path / "smaps_rollup").write_text(ROLLUP.replace("Pss:", "Oss:"))
    assert held(tmp_path) is None
    without_huge_pages = [line for line in ROLLUP.splitlines() if "Hugetlb" not in line]
    (tmp_path / "smaps_rollup").write_text("\n".join(without_huge_pages))
    assert held(tmp_path) == Held(1728 << 10, 310 << 10, (40 + 112) << 10)


def test_only_sizes_are_read() -> None:
    assert sizes_in(STATUS) == {
        "VmPeak": 231912 << 10,
        "VmHWM": 55040 << 10,
        "VmRSS": 54912 << 10,
        "VmData": 72148 << 10,
    }


@linux
def test_a_process_holds_what_it_has_touched() -> None:
    before, data_before = held(), data_bytes()
    pages = np.ones(64 << 20, np.uint8)
    after, data_after = held(), data_bytes()
    assert before is not None
    assert after is not None
    assert data_before is not None
    assert data_after is not None
    for grown in (
        after.rss_bytes - before.rss_bytes,
        after.pss_bytes - before.pss_bytes,
        after.uss_bytes - before.uss_bytes,
        data_after - data_before,
    ):
        assert 60 << 20 < grown < 70 << 20
    assert after.uss_bytes <= after.pss_bytes <= after.rss_bytes
    assert pages.all()


@linux
def test_each_mark_has_the_peak_since_the_last_one() -> None:
    peaks = Peaks()
    peaks.mark()
    pages = np.ones(64 << 20, np.uint8)
    del pages
    with_pages, without = peaks.mark(), peaks.mark()
    assert with_pages is not None
    assert without is not None
    assert peaks.highest is not None
    assert peaks.highest >= with_pages
    if peaks.resets:
        assert with_pages - without > 60 << 20


@linux
def test_a_reset_that_is_refused_is_told(tmp_path: Path) -> None:
    peaks = Peaks(tmp_path / "not there")
    assert peaks.mark() == peaks.highest
    assert not peaks.resets
