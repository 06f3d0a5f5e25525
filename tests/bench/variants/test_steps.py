from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from deploymark.bench.matrix.steps import (
    KINDS,
    ORIGINAL,
    DistillStep,
    FinetuneStep,
    IterativeStep,
    PruneStep,
    QatStep,
    Step,
    StructuredStep,
    TwoFourStep,
    asked_sparsity,
    files_of,
    is_quantization_aware,
    needs_data,
    uses_data,
    with_files,
)

STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])

L1 = PruneStep(kind="l1", amount=0.5)
AUTO = PruneStep(kind="l1", amount="auto", max_drop=0.01)
TWO_FOUR = TwoFourStep(kind="2:4")
STRUCTURED = StructuredStep(kind="structured", ratio=0.3)
FINETUNE = FinetuneStep(kind="finetune")
ITERATIVE = IterativeStep(kind="iterative", amount=0.6)
DISTILL = DistillStep(kind="distill")
QAT = QatStep(kind="qat")
ALL: tuple[Step, ...] = (L1, TWO_FOUR, STRUCTURED, FINETUNE, ITERATIVE, DISTILL, QAT)


def test_each_kind_reads_from_plain_data_and_back() -> None:
    plain = [
        {"kind": "l1", "amount": 0.5},
        {"kind": "2:4"},
        {"kind": "structured", "ratio": 0.3},
        {"kind": "finetune"},
        {"kind": "iterative", "amount": 0.6},
        {"kind": "distill"},
        {"kind": "qat"},
    ]
    steps = STEPS.validate_python(plain)
    assert steps == ALL
    assert tuple(step.kind for step in steps) == KINDS
    assert STEPS.validate_python([step.model_dump(mode="json") for step in steps]) == steps


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
        {"kind": "l1", "amount": "auto"},
        {"kind": "l1", "amount": 0.5, "max_drop": 0.01},
        {"kind": "l1", "amount": "automatic", "max_drop": 0.01},
        {"kind": "2:4", "amount": 0.5},
        {"kind": "structured"},
        {"kind": "structured", "ratio": 0.3, "macs": 0.6},
        {"kind": "structured", "ratio": 1},
        {"kind": "structured", "ratio": 0.3, "importance": "l3"},
        {"kind": "finetune", "epochs": 0},
        {"kind": "finetune", "lr0": 0},
        {"kind": "finetune", "lrf": 1.5},
        {"kind": "finetune", "images": 0},
        {"kind": "finetune", "optimizer": "SGD"},
        {"kind": "iterative"},
        {"kind": "iterative", "amount": 0.5, "prune": "2:4"},
        {"kind": "iterative", "amount": 0.5, "cycles": 0},
        {"kind": "iterative", "amount": 0.5, "schedule": "quadratic"},
        {"kind": "iterative", "amount": 0.5, "max_drop": 0},
        {"kind": "distill", "temperature": 0},
        {"kind": "distill", "teacher": ""},
        {"kind": "qat", "calibration_images": 0},
    ],
)
def test_what_is_no_step_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        STEPS.validate_python([values])


def test_auto_and_its_limit_belong_together() -> None:
    with pytest.raises(ValidationError, match="`amount: auto` and `max_drop` belong together"):
        PruneStep(kind="l1", amount="auto")


def test_structured_has_one_target() -> None:
    assert StructuredStep(kind="structured", macs=0.6).ratio is None
    with pytest.raises(ValidationError, match="give either `ratio` or `macs`"):
        StructuredStep(kind="structured")


def test_a_step_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        L1.amount = 0.7  # type: ignore[misc]
    assert hash(L1) == hash(PruneStep(kind="l1", amount=0.5))


def test_reading_steps_needs_no_framework() -> None:
    code = "import sys, deploymark.bench.matrix.steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_which_steps_read_the_train_split() -> None:
    needing = (FINETUNE, ITERATIVE, DISTILL, QAT, AUTO)
    assert tuple(step for step in (*ALL, AUTO) if needs_data(step)) == needing
    used = {step.kind for step in (*ALL, AUTO) if uses_data(step) and not needs_data(step)}
    assert used == {"structured"}


def test_only_distillation_names_files() -> None:
    assert [files_of(step) for step in ALL] == [()] * len(ALL)
    both = DistillStep(kind="distill", teacher="big.pt", student="small.pt")
    assert files_of(both) == ("big.pt", "small.pt")
    # an architecture of Ultralytics is no file of the user's
    assert files_of(DistillStep(kind="distill", student="yolo11n.yaml")) == ()


def test_files_are_replaced_where_they_are_named() -> None:
    files = {"big.pt": "/models/big.pt", "small.pt": "sha256:12"}
    both = DistillStep(kind="distill", teacher="big.pt", student="small.pt", temperature=2)
    replaced = with_files(both, files)
    assert replaced == both.model_copy(update={"teacher": "/models/big.pt", "student": "sha256:12"})
    own = DistillStep(kind="distill", student="yolo11n.yaml")
    assert with_files(own, files) == own
    assert own.teacher == ORIGINAL
    assert with_files(L1, files) is L1


@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        ((), 0.0),
        ((L1,), 0.5),
        ((TWO_FOUR,), 0.5),
        ((STRUCTURED, FINETUNE, QAT, DISTILL), 0.0),
        ((L1, PruneStep(kind="l1", amount=0.3)), 0.5),
        ((PruneStep(kind="l1", amount=0.3), FINETUNE, PruneStep(kind="l1", amount=0.7)), 0.7),
        ((AUTO, FINETUNE), None),
        ((ITERATIVE,), 0.6),
        ((IterativeStep(kind="iterative", amount=0.6, max_drop=0.01),), None),
        ((IterativeStep(kind="iterative", amount=0.6, prune="structured"),), 0.0),
    ],
)
def test_the_sparsity_that_a_recipe_asks_for(steps: tuple[Step, ...], asked: float | None) -> None:
    assert asked_sparsity(steps) == asked


def test_a_recipe_is_quantization_aware_by_its_last_step() -> None:
    assert is_quantization_aware((STRUCTURED, QAT))
    assert not is_quantization_aware((QAT, FINETUNE))
    assert not is_quantization_aware(())
