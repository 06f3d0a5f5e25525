from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.backends.inputs import Size
from deploymark.bench.gate import latency as gate_latency
from deploymark.bench.gate.latency import GateCell, PairedCell, cell_error, compare_latency
from deploymark.bench.gate.pairing import Measurable, PairRecord
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.store import StoredArtifact

ARTIFACT = StoredArtifact(Path("folder"), "model.onnx", "0" * 64, 1, 1, {}, {}, {}, 0.0)
CELL = Cell("m", "dense", "fp32", "onnxruntime", "cpu", Size.of(320), 1, None)
SETTINGS = GateSettings(max_pairs=12, budget_s=60)


def gate_cell(model: str) -> GateCell:
    side = Measurable(dataclasses.replace(CELL, model=model), 1, ARTIFACT, Path("images.npy"))
    return GateCell(model, side, side)


Change = Callable[[str, int], float | Outcome]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Compare cells whose pairs are drawn around a change; returns the order of pairs."""

    def run(
        cells: dict[str, Change],
        found: dict[str, PairedCell],
        settings: GateSettings = SETTINGS,
        seconds: float = 3.0,
    ) -> list[str]:
        noise = random.Random(0)  # noqa: S311 - no secret
        order: list[str] = []

        def pair(baseline: Measurable, *_: object) -> PairRecord:
            name = baseline.cell.model
            what = cells[name](name, order.count(name))
            order.append(name)
            if isinstance(what, Outcome):
                return PairRecord(what, failed_side="candidate", seconds=seconds)
            return PairRecord(
                Outcome("ok"), seconds=seconds, log_ratio=what + noise.gauss(0, 0.004)
            )

        monkeypatch.setattr(gate_latency, "measure_pair", pair)
        given = [gate_cell(name) for name in cells]
        found.update(compare_latency(given, settings, seed=0, logs=tmp_path))
        return order

    return run


def constant(value: float) -> Change:
    return lambda *_: value


def test_each_cell_gets_its_verdict_and_stops_early(measured: Callable[..., list[str]]) -> None:
    found: dict[str, PairedCell] = {}
    measured(
        {"same": constant(0.0), "slow": constant(0.04), "fast": constant(-0.04)},
        found,
        GateSettings(max_pairs=30, budget_s=1000),
    )
    said = {name: item.decision and item.decision.verdict for name, item in found.items()}
    assert said == {"same": "unchanged", "slow": "regressed", "fast": "improved"}
    assert all(len(item.records) < 30 for item in found.values())


def test_cells_take_turns(measured: Callable[..., list[str]]) -> None:
    order = measured({"a": constant(0.0099), "b": constant(0.0099)}, {})
    assert [set(order[index : index + 2]) for index in range(0, len(order), 2)] == [{"a", "b"}] * 12


def test_a_cell_at_the_threshold_stays_open_and_ends(measured: Callable[..., list[str]]) -> None:
    found: dict[str, PairedCell] = {}
    measured({"edge": constant(0.00995)}, found)
    decision = found["edge"].decision
    assert decision is not None
    assert decision.verdict == "inconclusive"
    assert len(found["edge"].records) == SETTINGS.max_pairs


def test_the_time_ends_a_cell_before_it_is_over(measured: Callable[..., list[str]]) -> None:
    found: dict[str, PairedCell] = {}
    measured({"edge": constant(0.00995)}, found, seconds=9.0)
    assert len(found["edge"].records) == 6
    assert found["edge"].seconds <= 60
    assert found["edge"].decision is not None


def test_two_pairs_are_measured_whatever_they_take(measured: Callable[..., list[str]]) -> None:
    found: dict[str, PairedCell] = {}
    measured({"slow": constant(0.0)}, found, seconds=500.0)
    assert len(found["slow"].records) == 2
    assert found["slow"].decision is not None


def test_a_cell_that_fails_leaves_and_the_others_go_on(measured: Callable[..., list[str]]) -> None:
    found: dict[str, PairedCell] = {}

    def fails(_: str, pair: int) -> float | Outcome:
        return Outcome("crashed", "it died") if pair == 2 else 0.0

    measured({"bad": fails, "good": constant(0.0)}, found)
    assert found["bad"].outcome.status == "crashed"
    assert found["bad"].failed_side == "candidate"
    assert len(found["bad"].records) == 3
    assert found["good"].outcome.ok
    assert found["good"].decision is not None


def test_the_error_is_shared_by_the_cells() -> None:
    assert cell_error(0.95, 1) == pytest.approx(0.05)
    assert cell_error(0.95, 10) == pytest.approx(0.005)
