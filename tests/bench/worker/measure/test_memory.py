from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from deploymark.bench.worker.measure.memory import peak_rss_bytes, rss_bytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHILD = "from deploymark.bench.worker.measure.memory import peak_rss_bytes as p; print(p())"


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
