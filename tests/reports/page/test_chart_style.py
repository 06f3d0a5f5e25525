from __future__ import annotations

import pytest

from deploymark.reports.page.chart_style import log_ticks


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.004, 900.0), (1.9, 212.0), (3.1, 4.2), (12.0, 12.9), (99.0, 101.0), (7.0, 7.001)],
)
def test_ticks_lie_within_the_axis(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 4 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= high for tick in ticks)
