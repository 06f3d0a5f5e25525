"""A run with an external meter, from the matrix to the columns, by the command line."""

from __future__ import annotations

import json
import sys
import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkout import ROOT

if TYPE_CHECKING:
    from tests.bench.conftest import CommandLine

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
backends: [onnxruntime]
threads: [1]
scoring: {max_images: 2}
calibration: {images: 1}
measure:
  {launches: 1, target_interval: null, warmup_max_s: 0.2, latency_s: 0.1,
   min_iterations: 2, max_iterations: 5, e2e_iterations: 0}
validity: {enabled: false}
"""

METER = ROOT / "tests" / "standin_meter.py"


def energy(deploymark: CommandLine, section: str) -> tuple[Any, list[Any]]:
    """The cell of a run, and the lines of its energy launches."""
    (deploymark.folder / "m.yaml").write_text(MATRIX + textwrap.dedent(section))
    done = deploymark("run", "m.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = json.loads((deploymark.latest / "cells.json").read_text())
    lines = deploymark.latest / "energy.jsonl"
    records = (
        [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    )
    return cell, records


def end_of(record: Any) -> float:
    """When a launch had ended, at the earliest: seconds since 1970."""
    return datetime.fromisoformat(record["started"]).timestamp() + record["duration_s"]


@pytest.mark.heavy
@pytest.mark.real
def test_a_run_with_an_external_meter(deploymark: CommandLine) -> None:
    cell, records = energy(
        deploymark,
        f"""
        energy:
          meter:
            {{command: {json.dumps([sys.executable, str(METER), "starts"])}, unit: j, scope: board,
             name: the bench supply}}
          launches: 2
          window_s: 1.5
          idle_s: 1.5
          budget_s: 3
          frames_per_second: 2
          battery_wh: 20
        choose: {{minimize: energy_j_per_image}}
        """,
    )
    assert [record["launch"] for record in records] == [0, 1]
    assert cell["energy_source"] == "the bench supply"
    assert (cell["energy_kind"], cell["energy_scope"]) == ("counter", "board")
    assert cell["energy_period_ms"] >= 50
    # busy processors take 10 W above the 4 W of the meter
    assert cell["energy_idle_w"] == pytest.approx(4.0, rel=0.05)
    assert 0 < cell["energy_j_per_image"] < cell["energy_gross_j_per_image"]
    low, high = cell["energy_ci_low_j_per_image"], cell["energy_ci_high_j_per_image"]
    assert low <= cell["energy_j_per_image"] <= high
    assert cell["energy_launches"] == 2
    assert cell["energy_reason"] is None
    joules = cell["energy_gross_j_per_image"]
    assert cell["images_per_wh"] == pytest.approx(3600 / joules, rel=0.2)
    watts = cell["energy_idle_w"] + 2 * cell["energy_j_per_image"]
    assert cell["battery_hours"] == pytest.approx(20 / watts, rel=0.05)
    for record in records:
        for window in record["windows"]:
            assert window["seconds"] >= 1.5
            assert window["joules"] > 0
    # no meter is read while a latency is taken, and no latency while a meter is read
    timed = (deploymark.latest / "launches.jsonl").read_text().splitlines()
    starts = [float(line) for line in (deploymark.folder / "starts").read_text().split()]
    assert min(starts) >= max(end_of(json.loads(line)) for line in timed)
    assert not any("latency_ns" in record for record in records)
    page = (deploymark.latest / "report.html").read_text()
    assert "the bench supply" in page

    resumed = deploymark("run", "--resume", str(deploymark.latest.resolve()))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len((deploymark.latest / "energy.jsonl").read_text().splitlines()) == 2

    answer = deploymark("choose", str(deploymark.latest), "--minimize", "energy_gross_j_per_image")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.heavy
@pytest.mark.real
def test_a_model_of_power_is_called_one(deploymark: CommandLine) -> None:
    cell, records = energy(
        deploymark, "energy: {model: {idle_w: 3, busy_w: 9}, launches: 1, window_s: 1}\n"
    )
    if cell["energy_kind"] != "modelled":
        pytest.skip("this machine has a meter")
    assert len(records) == 1
    assert cell["energy_source"] == "modelled from processor time (3 to 9 W)"
    assert cell["energy_idle_w"] == 3
    assert 0 < cell["energy_j_per_image"] < cell["energy_gross_j_per_image"]
    assert "modelled" in (deploymark.latest / "report.html").read_text()
    answer = deploymark("choose", str(deploymark.latest), "--minimize", "energy_j_per_image")
    assert "modelled from processor time" in answer.stdout


def test_energy_is_off_where_the_matrix_says_so(deploymark: CommandLine) -> None:
    cell, records = energy(deploymark, "energy: off\n")
    assert records == []
    assert cell["energy_j_per_image"] is None
    assert cell["energy_reason"] == "the matrix has `energy: off`"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            "energy: {meter: {command: [no-such-meter-here], unit: w}}",
            "energy.meter.command: no such program: no-such-meter-here",
        ),
        ("energy: {meter: {command: [python3]}}", "missing key 'unit'"),
        ("energy: {meter: {command: python3 meter.py, unit: w}}", "energy.meter.command"),
        ("energy: {model: {idle_w: 9, busy_w: 3}}", "busy_w must be above idle_w"),
        ("energy: {battery_wh: 50}", "give frames_per_second and battery_wh together"),
        ("energy: {window: 5}", "did you mean 'window_s'"),
    ],
)
def test_what_is_wrong_with_the_section_is_told(
    deploymark: CommandLine, section: str, words: str
) -> None:
    (deploymark.folder / "m.yaml").write_text(f"{MATRIX}{section}\n")
    done = deploymark("run", "m.yaml")
    assert done.returncode == 2
    assert "m.yaml:1" in done.stdout + done.stderr
    assert words in done.stdout + done.stderr
