"""From energy launches to columns."""

from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.matrix.energy_settings import EnergySettings
from deploymark.bench.records.run import CellResult
from deploymark.bench.score.energy import add_energy, duty_cycle
from deploymark.bench.statistics.intervals import launch_interval

CAMERA = EnergySettings(frames_per_second=10, battery_wh=60)


def launch(net: float | None, gross: float | None = 0.9, **changes: Any) -> dict[str, Any]:
    record = {
        "status": "ok",
        "reason": "",
        "source": "a meter",
        "kind": "counter",
        "scope": "board",
        "period_ms": 100.0,
        "idle_w": 4.0,
        "joules_per_image": net,
        "net_interval": None if net is None else [0.9 * net, 1.1 * net],
        "gross_joules_per_image": gross,
        "gross_interval": None if gross is None else [0.8 * gross, 1.2 * gross],
        "no_net": "",
        "no_gross": "",
        "windows": [{"seconds": 10.0, "images": 200, "joules": 90.0}],
        "notes": [],
        **changes,
    }
    return {**record, **duty_cycle(record, CAMERA)}


def cell(*records: dict[str, Any], reason: str = "") -> CellResult:
    result = CellResult(cell="c", status="ok")
    add_energy(result, records, CAMERA, reason)
    return result


def test_figures_are_medians_with_an_interval_over_launches() -> None:
    result = cell(launch(0.5), launch(0.52), launch(0.6))
    assert result.energy_j_per_image == 0.52
    assert result.energy_gross_j_per_image == 0.9
    ends = result.energy_ci_low_j_per_image, result.energy_ci_high_j_per_image
    assert ends == launch_interval([0.5, 0.52, 0.6])
    assert (result.energy_source, result.energy_kind) == ("a meter", "counter")
    assert (result.energy_scope, result.energy_period_ms) == ("board", 100.0)
    assert result.energy_launches == 3
    assert result.images_per_wh == pytest.approx(4000)
    assert result.battery_hours == pytest.approx(60 / (4 + 5.2))
    assert result.energy_reason is None
    assert result.warnings == []


def test_a_single_launch_has_the_interval_of_its_windows() -> None:
    result = cell(launch(0.5))
    assert result.energy_ci_low_j_per_image == pytest.approx(0.45)
    assert result.energy_gross_ci_high_j_per_image == pytest.approx(1.08)


def test_without_a_launch_the_reason_stands_there() -> None:
    result = cell(reason="no energy meter: there is no battery")
    assert result.energy_j_per_image is None
    assert result.energy_reason == "no energy meter: there is no battery"


def test_a_net_that_a_fault_spoils_leaves_the_gross() -> None:
    result = cell(launch(None, no_net="idle power drifted"))
    assert (result.energy_j_per_image, result.energy_gross_j_per_image) == (None, 0.9)
    assert result.energy_reason == "idle power drifted"
    assert result.battery_hours is None
    assert result.warnings == ["no battery life: idle power drifted"]


def test_a_launch_without_a_figure_is_told() -> None:
    result = cell(launch(0.5), launch(None, None, no_net="it died", no_gross="it died"))
    assert result.energy_j_per_image == 0.5
    assert result.energy_launches == 1
    assert "1 of 2 energy launches had no figure: it died" in result.warnings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scope": "package"}, "a meter sees the package alone, a battery feeds more"),
        (
            {"windows": [{"seconds": 10.0, "images": 50, "joules": 1.0}]},
            "it infers 5 images a second, not 10",
        ),
    ],
)
def test_a_battery_life_that_cannot_be_told(changes: dict[str, Any], words: str) -> None:
    result = cell(launch(0.5, **changes))
    assert result.battery_hours is None
    assert result.warnings == [f"no battery life: {words}"]
