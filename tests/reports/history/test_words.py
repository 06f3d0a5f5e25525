from __future__ import annotations

import pytest

from deploymark.bench.records.trends import Series
from deploymark.reports.history import words as trend_words
from tests.reports.history.series import changed, latency, machine


@pytest.mark.parametrize(
    ("series", "line"),
    [
        (latency("a", changed(2), runs=4), "▁▁│██"),
        (latency("a", runs=3), "▅▅▅"),
        # the last thirty are alike
        (latency("a", changed(2), runs=40), "▅" * 30),
    ],
)
def test_sparkline(series: Series, line: str) -> None:
    assert trend_words.sparkline(series) == line


@pytest.mark.parametrize(
    ("figure", "change", "worse"),
    [
        ("latency_p50_ms", 0.1, True),
        ("latency_p50_ms", -0.1, False),
        ("map50_95", -0.1, True),
        ("throughput_ips", 0.1, False),
    ],
)
def test_what_is_worse(figure: str, change: float, worse: bool) -> None:
    series = latency("a", figure=figure)
    assert trend_words.is_worse(series, changed(change=change)) is worse


def test_one_cause_of_many_changes_is_told_once() -> None:
    past = machine(
        latency("a", changed(2)), latency("b", changed(5)), latency("c", changed(5), changed(6))
    )
    told = trend_words.changes_by_place(past)
    assert [text.partition(",")[0] for text, _ in told] == ["run-6", "run-5", "run-2"]
    assert [series.cell for series, _ in told[1][1]] == ["b", "c"]
