from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.worker.measure.energy import NullMeter, no_sensor_reason


def test_without_a_sensor_there_is_no_figure_and_a_reason() -> None:
    energy = NullMeter("no counter").measure(lambda: pytest.fail("nothing to run"), 1)
    assert (energy.joules_per_image, energy.idle_watts, energy.source) == (None, None, None)
    assert energy.reason == "no counter"


def test_the_reason_tells_a_missing_counter_from_an_unused_one(tmp_path: Path) -> None:
    assert "no RAPL" in no_sensor_reason(tmp_path / "none")
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("1")
    assert "has no meter" in no_sensor_reason(tmp_path)
