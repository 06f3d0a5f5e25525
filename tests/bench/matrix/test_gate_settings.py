from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.gate_settings import GATED_FIGURES, GateSettings, Limit
from deploymark.bench.matrix.schema import read_matrix
from deploymark.bench.records.run import CellResult

MATRIX = "models:\n  - {path: builtin:digits, data: builtin:digits}\nbackends: [onnxruntime]\n"

MISTAKES = {
    "gate: {min_efect: 0.02}": ("4:8: gate.min_efect: unknown key", "did you mean 'min_effect'?"),
    "gate: {latency_p95: {max: 20}}": ("gate.latency_p95", "did you mean 'latency_p95_ms'?"),
    "gate:\n  map50_95: {max: 0.4}": ("5:14: gate.map50_95.max: unknown key",),
    "gate:\n  map50_95: {maxdrop: 0.4}": ("5:14: gate.map50_95.maxdrop", "'max_drop'"),
    "gate:\n  latency_p95_ms: {max_rise: 0.1}": ("gate.latency_p95_ms.max_rise: unknown key",),
    "gate:\n  latency_p95_ms: {}": ("5:3: gate.latency_p95_ms: gives no limit, expected max",),
    "gate:\n  artifact_bytes: {max: }": ("gives no limit, expected max or max_rise",),
    "gate: {latency_p95_ms: 20}": ("4:8: gate.latency_p95_ms: must be a valid dictionary",),
    "gate: {map50_95: {min: 38}}": ("gate.map50_95.min: must be less than or equal to 1",),
    "gate: {map50_95: {max_drop: -0.01}}": ("gate.map50_95.max_drop", "greater than 0"),
    "gate: {latency_p95_ms: {max: .nan}}": ("gate.latency_p95_ms.max: must be",),
    "gate: {latency_p95_ms: {max: .inf}}": ("must be a finite number",),
    "gate: {confidence: 95}": ("4:8: gate.confidence: must be less than 1 (got 95)",),
    "gate: {min_effect: 0}": ("gate.min_effect: must be greater than 0",),
    "gate: {max_pairs: 1}": ("gate.max_pairs: must be greater than or equal to 2",),
    "gate: {figures: [map50]}": ("4:18: gate.figures[0]: expected", "did you mean 'map50_95'?"),
    "gate: {figures: []}": ("gate.figures: must not be empty",),
    "gate: {figures: [latency_p50_ms], map50_95: {max_drop: 0.02}}": (
        "4:1: gate: `map50_95` has an allowed change, and `figures` leaves it out",
    ),
}


def gate_of(folder: Path, text: str) -> GateSettings:
    path = folder / "m.yaml"
    path.write_text(MATRIX + text + "\n")
    return read_matrix(path)[0].gate


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        gate_of(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'm.yaml'}:")
    for words in MISTAKES[text]:
        assert words in message


def test_a_matrix_without_the_section_has_the_defaults(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, "")
    assert gate == GateSettings()
    assert gate.limits() == []
    assert [gate.threshold(figure) for figure in GATED_FIGURES] == [0.01, 0.01, 0.02, 0.05, 0.05]


def test_limits_and_thresholds_are_what_the_matrix_says(tmp_path: Path) -> None:
    gate = gate_of(
        tmp_path,
        "gate:\n  min_effect: 0.02\n  latency_p95_ms: {max: 20}\n  throughput_ips: {min: 30}\n"
        "  map50_95: {min: 0.38, max_drop: 0.03}\n  artifact_bytes: {max_rise: 0.1}\n",
    )
    assert gate.limits() == [
        Limit("latency_p95_ms", "max", 20.0),
        Limit("throughput_ips", "min", 30.0),
        Limit("map50_95", "min", 0.38),
    ]
    assert gate.threshold("latency_p50_ms") == 0.02
    assert gate.threshold("map50_95") == 0.03
    assert gate.threshold("artifact_bytes") == 0.1
    assert gate.threshold("peak_rss_bytes") == 0.05


def test_a_change_allowed_to_the_median_is_in_place_of_the_least_effect(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, "gate: {min_effect: 0.02, latency_p50_ms: {max_rise: 0.05}}")
    assert gate.threshold("latency_p50_ms") == 0.05


def test_every_budget_is_of_a_figure_that_cells_have() -> None:
    plain = {
        "min_effect",
        "confidence",
        "max_pairs",
        "budget_s",
        "bursts",
        "burst_iterations",
        "copies",
        "allow_missing",
    }
    budgets = set(GateSettings.model_fields) - plain - {"figures"}
    assert budgets <= set(CellResult.__dataclass_fields__)
    assert set(GATED_FIGURES) <= budgets
