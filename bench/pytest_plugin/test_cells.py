"""One test a cell, under pytest-benchmark: its samples were measured in workers and are replayed.

Collected by ``pytest --pyargs deploymark.bench --deploymark-matrix FILE``; the fixtures are in
``bench.pytest_plugin.plugin``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from deploymark.bench.pytest_plugin.replay import ReplayClock, replay

if TYPE_CHECKING:
    from deploymark.bench.run.runner import Measured


def test_cell(
    deploymark_cell: tuple[str, ReplayClock], deploymark_measured: Measured, benchmark: Any
) -> None:
    """The cell was measured; its figures go to the benchmark's ``extra_info``."""
    cell, clock = deploymark_cell
    result = deploymark_measured.results[cell]
    benchmark.extra_info.update(dataclasses.asdict(result))
    if result.status in ("unsupported", "unavailable"):
        pytest.skip(f"{result.status}: {result.reason}")
    if result.status != "ok":
        remedy = f"\n{result.remedy}" if result.remedy else ""
        pytest.fail(f"{result.status}: {result.reason}{remedy}", pytrace=False)
    replay(benchmark, clock, deploymark_measured.samples[cell])
