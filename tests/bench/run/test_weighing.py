"""One launch of the memory pass with the worker itself; the backend computes nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploymark.bench.children.spawn import ChildEnd
from deploymark.bench.run.launch import session_job
from deploymark.bench.run.weighing import weigh

if TYPE_CHECKING:
    from pathlib import Path

    from deploymark.bench.gate.pairing import Measurable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def weighed(
    side: Measurable, folder: Path, *, limit_mb: int | None = None, copies: bool = True, **how: Any
) -> ChildEnd:
    job = session_job("memory", side.cell, side.threads, side.artifact, side.images)
    job["runtime_options"] = how
    log = folder / "logs" / "memory.log"
    return weigh(job, side.cell, side.threads, log, limit_mb=limit_mb, copies=copies)


def test_a_launch_tells_what_it_holds(side: Measurable, tmp_path: Path) -> None:
    end = weighed(side, tmp_path)
    assert end.outcome.ok, end.outcome
    found = end.result or {}
    assert found["uss_bytes"] <= found["pss_bytes"] <= found["steady_rss_bytes"]
    assert found["steady_rss_bytes"] <= found["peak_rss_bytes"]
    assert found["load_peak_rss_bytes"] <= found["peak_rss_bytes"]
    assert found["data_bytes"] > 0
    assert 0 <= found["memory_per_copy_bytes"] < 8 << 20, "a session that holds nothing"
    assert found["copy_reason"] == ""
    assert found["device_memory_bytes"] is None


def test_copies_are_made_where_they_are_asked_for(side: Measurable, tmp_path: Path) -> None:
    end = weighed(side, tmp_path, copies=False, where="reload", how="raise")
    assert end.outcome.ok
    assert (end.result or {})["memory_per_copy_bytes"] is None


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", "a second session failed: RuntimeError: told to fail at reload"),
        ("abort", "a second session ended crashed: the process died of SIGABRT"),
    ],
)
def test_a_second_session_that_fails_costs_its_own_figure_only(
    side: Measurable, tmp_path: Path, how: str, told: str
) -> None:
    end = weighed(side, tmp_path, where="reload", how=how)
    assert end.outcome.ok
    found = end.result or {}
    assert found["memory_per_copy_bytes"] is None
    assert found["copy_reason"].startswith(told)
    assert found["uss_bytes"] > 0


@pytest.mark.parametrize(("how", "status"), [("raise", "load_failed"), ("abort", "crashed")])
def test_an_artifact_that_does_not_load_has_no_figure(
    side: Measurable, tmp_path: Path, how: str, status: str
) -> None:
    end = weighed(side, tmp_path, where="load", how=how)
    assert (end.outcome.status, end.result) == (status, None)


def test_a_launch_that_takes_more_than_its_limit(side: Measurable, tmp_path: Path) -> None:
    end = weighed(side, tmp_path, limit_mb=400, where="load", how="memory")
    assert (end.outcome.status, end.result) == ("out_of_memory", None)
    assert "400 MiB" in end.outcome.reason
