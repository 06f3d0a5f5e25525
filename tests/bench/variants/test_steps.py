from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bench.variants.steps import PruneStep, Step, apply_steps


def test_a_step_reads_from_plain_data_and_back() -> None:
    steps = TypeAdapter(tuple[Step, ...]).validate_python([{"kind": "l1", "amount": 0.5}])
    assert steps == (PruneStep(kind="l1", amount=0.5, scope="layer"),)
    assert TypeAdapter(tuple[Step, ...]).validate_python([s.model_dump() for s in steps]) == steps


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "l1"},
        {"kind": "l1", "amount": 0},
        {"kind": "l1", "amount": 1},
        {"kind": "l1", "amount": -0.5},
        {"kind": "l1", "amount": float("nan")},
        {"kind": "l2", "amount": 0.5},
        {"kind": "l1", "amount": 0.5, "scope": "block"},
        {"kind": "l1", "amount": 0.5, "ratio": 0.5},
    ],
)
def test_what_is_no_step_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PruneStep.model_validate(values)


def test_a_step_cannot_be_changed() -> None:
    step = PruneStep(kind="l1", amount=0.5)
    with pytest.raises(ValidationError):
        step.amount = 0.7  # type: ignore[misc]
    assert hash(step) == hash(PruneStep(kind="l1", amount=0.5))


def test_reading_steps_needs_no_framework() -> None:
    code = "import sys, bench.variants.steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.heavy
def test_steps_are_applied_in_order_and_in_place() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.Conv2d(10, 10, 1, bias=False)
    )
    steps = [PruneStep(kind="l1", amount=0.2), PruneStep(kind="l1", amount=0.6)]
    assert apply_steps(module, ()) is module
    assert int((module[1].weight == 0).sum()) == 0
    assert apply_steps(module, steps) is module
    assert int((module[1].weight == 0).sum()) == 60
