from __future__ import annotations

from typing import Any

from deploymark.bench.records.memory import MEMORY_FIGURES, Fit
from deploymark.bench.records.run import CellResult
from deploymark.bench.score.memory import add_fit, add_memory


def line(peak: int, **values: Any) -> dict[str, Any]:
    return {"status": "ok", **dict.fromkeys(MEMORY_FIGURES), "peak_rss_bytes": peak, **values}


def test_figures_are_medians_of_the_pass_and_not_of_timing_launches() -> None:
    result = CellResult("c", "ok", peak_rss_bytes=999, model_rss_bytes=99)
    add_memory(result, [line(30, uss_bytes=3), line(10, uss_bytes=1), line(20, uss_bytes=2)])
    assert (result.peak_rss_bytes, result.uss_bytes) == (20, 2)
    assert result.model_rss_bytes is None
    assert result.memory_reason is None


def test_why_a_figure_is_missing_is_told_once() -> None:
    result = CellResult("c", "ok")
    add_memory(result, [line(1, copy_reason="a second session failed: X")] * 3)
    assert result.memory_per_copy_bytes is None
    assert result.memory_reason == "no memory per copy: a second session failed: X"


def test_a_pass_that_failed_leaves_no_figure_and_a_warning() -> None:
    result = CellResult("c", "ok", peak_rss_bytes=999)
    add_memory(result, [{"status": "crashed", "reason": "SIGSEGV"}])
    assert result.status == "ok"
    assert result.peak_rss_bytes is None
    assert result.warnings == ["the memory pass ended crashed: SIGSEGV"]
    assert result.memory_reason == result.warnings[0]


def test_without_a_pass_stays_what_was_read_in_passing() -> None:
    result = CellResult("c", "ok", peak_rss_bytes=999)
    add_memory(result, [])
    assert result.peak_rss_bytes == 999
    assert "memory_launches" in (result.memory_reason or "")


def test_the_smallest_limit_comes_with_how_it_was_enforced() -> None:
    result = CellResult("c", "ok")
    add_fit(result, Fit("c", None, reason="nothing works"))
    add_fit(result, Fit("c", None, reason="nothing works"))
    assert (result.min_memory_mb, result.memory_reason) == (None, "nothing works")
    add_fit(result, Fit("c", 64, 63, 9, "cgroup-v2"))
    assert (result.min_memory_mb, result.memory_enforced_by) == (64, "cgroup-v2")
