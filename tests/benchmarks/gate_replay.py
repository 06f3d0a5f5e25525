"""A pytest module: samples of a file, replayed to pytest-benchmark as a user's benchmarks.

``gate_peers.py`` runs it. The file that ``GATE_SAMPLES`` names has an object a line: ``name``,
``samples_ns`` and ``extra_info``; each becomes one test with one round a sample.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.pytest_plugin.replay import ReplayClock, replay


def _parameters() -> list[Any]:
    found = []
    for line in Path(os.environ["GATE_SAMPLES"]).read_text("utf-8").splitlines():
        item = json.loads(line)
        clock = ReplayClock()
        mark = pytest.mark.benchmark(timer=clock)
        found.append(pytest.param(clock, item, id=item["name"], marks=mark))
    return found


@pytest.mark.parametrize(("clock", "item"), _parameters())
def test_replayed(clock: ReplayClock, item: dict[str, Any], benchmark: Any) -> None:
    benchmark.extra_info.update(item["extra_info"])
    replay(benchmark, clock, item["samples_ns"])
