from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.matrix.steps import DistillStep
from deploymark.bench.variants.distill_loss import (
    BINS_SCALE,
    CLASS_SCALE,
    DISTANCE_SCALE,
    SIDES,
    SoftTargets,
    box_divergence,
    branches,
    class_divergence,
    sentence,
)

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")

BATCH, CLASSES, PLACES = 2, 3, 5


def answer(reg_max: int, seed: int, *, batch: int = BATCH) -> dict[str, Any]:
    """What a head might give, some of its places sure of a class."""
    draw = torch.Generator().manual_seed(seed)
    boxes = torch.randn(batch, SIDES * reg_max, PLACES, generator=draw)
    scores = torch.randn(batch, CLASSES, PLACES, generator=draw) * 3 - 1
    return {"boxes": boxes.abs() if reg_max == 1 else boxes, "scores": scores}


def pull(
    loss: SoftTargets, student: dict[str, Any], teacher: dict[str, Any]
) -> tuple[float, float, float]:
    """The loss, and the largest gradient that it puts on scores and on boxes."""
    scores, boxes = (student[key].clone().requires_grad_() for key in ("scores", "boxes"))
    value, _ = loss({"scores": scores, "boxes": boxes}, teacher)
    value.backward()
    largest = [0.0 if x.grad is None else float(x.grad.abs().max()) for x in (scores, boxes)]
    return float(value.detach()), largest[0], largest[1]


@pytest.mark.parametrize("reg_max", [1, 16])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_no_pull_where_both_answer_alike(reg_max: int, temperature: float) -> None:
    same = answer(reg_max, 0)
    value, on_scores, on_boxes = pull(SoftTargets(temperature), same, same)
    assert value == 0.0
    assert on_scores == 0.0
    assert on_boxes <= 1e-6


@pytest.mark.parametrize("reg_max", [1, 16])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_falls_all_the_way_to_the_teacher(reg_max: int, temperature: float) -> None:
    student, teacher = answer(reg_max, 1), answer(reg_max, 2)
    on_the_way = [
        {key: student[key].lerp(teacher[key], share) for key in student}
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    values = [float(SoftTargets(temperature)(raw, teacher)[0]) for raw in on_the_way]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.1
    assert values[-1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("reg_max", [1, 16])
def test_a_gradient_step_brings_the_student_nearer(reg_max: int) -> None:
    student, teacher = answer(reg_max, 3), answer(reg_max, 4)
    moved = {key: value.clone().requires_grad_() for key, value in student.items()}
    before, _ = SoftTargets()(moved, teacher)
    before.backward()
    stepped = {key: (value - 0.01 * value.grad).detach() for key, value in moved.items()}
    after, _ = SoftTargets()(stepped, teacher)
    assert float(after) < float(before.detach())


@pytest.mark.parametrize("reg_max", [1, 16])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_finite_for_extreme_answers(reg_max: int, size: float) -> None:
    student = {key: value * size for key, value in answer(reg_max, 5).items()}
    teacher = {key: -value * size for key, value in answer(reg_max, 6).items()}
    for temperature in (0.1, 1.0, 20.0):
        for figure in pull(SoftTargets(temperature), student, teacher):
            assert torch.isfinite(torch.tensor(figure))


def test_a_gain_of_zero_leaves_its_part_out() -> None:
    student, teacher = answer(16, 7), answer(16, 8)
    both, parts = SoftTargets()(student, teacher)
    _, on_scores, on_boxes = pull(SoftTargets(class_gain=0.0), student, teacher)
    assert (on_scores, on_boxes > 0) == (0.0, True)
    _, on_scores, on_boxes = pull(SoftTargets(box_gain=0.0), student, teacher)
    assert (on_scores > 0, on_boxes) == (True, 0.0)
    # Both off: a loss that can still be differentiated.
    assert pull(SoftTargets(class_gain=0.0, box_gain=0.0), student, teacher) == (0.0, 0.0, 0.0)
    twice, doubled = SoftTargets(class_gain=2.0, box_gain=2.0)(student, teacher)
    assert float(twice) == pytest.approx(2 * float(both), rel=1e-5)
    assert doubled["distill_box"] == pytest.approx(2 * parts["distill_box"], rel=1e-5)


def test_scaled_by_the_batch_as_the_detection_loss_is() -> None:
    student, teacher = answer(16, 9, batch=1), answer(16, 10, batch=1)
    one, parts = SoftTargets()(student, teacher)
    assert sum(parts.values()) == pytest.approx(float(one), rel=1e-5)
    four, same = SoftTargets()(
        {key: value.repeat(4, 1, 1) for key, value in student.items()},
        {key: value.repeat(4, 1, 1) for key, value in teacher.items()},
    )
    assert float(four) == pytest.approx(4 * float(one), rel=1e-5)
    assert same == pytest.approx(parts, rel=1e-5)


def test_classes_are_the_divergence_of_sigmoids() -> None:
    student, teacher = torch.tensor([[[0.0]]]), torch.tensor([[[2.0]]])
    p = float(torch.sigmoid(torch.tensor(2.0)))
    expected = p * torch.log(torch.tensor(p / 0.5)) + (1 - p) * torch.log(
        torch.tensor((1 - p) / 0.5)
    )
    assert float(class_divergence(student, teacher, 1.0)) == pytest.approx(
        float(expected), rel=1e-5
    )
    # Hinton et al.: the pull of soft answers, times T², stays of one size.
    pulls = []
    for temperature in (10.0, 20.0):
        logits = student.clone().requires_grad_()
        class_divergence(logits, teacher, temperature).sum().backward()
        pulls.append(float(logits.grad))
    assert pulls[0] == pytest.approx(pulls[1], rel=0.01)


def test_bins_are_told_apart_by_side() -> None:
    teacher = torch.zeros(1, SIDES * 4, 1)
    student = torch.zeros(1, SIDES * 4, 1)
    student[0, 4:8, 0] = torch.tensor([3.0, 0.0, 0.0, 0.0])  # the top side
    log_p = torch.log_softmax(torch.tensor([3.0, 0.0, 0.0, 0.0]), 0)
    expected = float((0.25 * (torch.log(torch.tensor(0.25)) - log_p)).sum()) / SIDES
    found = box_divergence(student, teacher, 1.0)
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(BINS_SCALE * expected, rel=1e-5)


def test_distances_are_shares_of_the_teachers_box() -> None:
    teacher = torch.tensor([[[3.0], [1.0], [5.0], [1.0]]])  # 8 wide, 2 high
    student = torch.tensor([[[3.8], [1.0], [5.0], [1.2]]])
    found = box_divergence(student, teacher, 1.0)
    assert float(found) == pytest.approx(DISTANCE_SCALE * (0.8 / 8 + 0.2 / 2), rel=1e-4)
    # 1 - IoU to first order: 1 - 16 / (8.8 x 2.2) = 0.174.
    assert float(found) / DISTANCE_SCALE == pytest.approx(1 - 16 / (8.8 * 2.2), abs=0.03)


def test_boxes_count_where_the_teacher_sees_something() -> None:
    student, teacher = answer(16, 11), answer(16, 12)
    teacher["scores"] = torch.full_like(teacher["scores"], -20.0)
    teacher["scores"][0, 1, 3] = 4.0
    student["boxes"].requires_grad_()
    SoftTargets(class_gain=0.0)(student, teacher)[0].backward()
    strength = student["boxes"].grad.abs().sum(1)
    assert strength[0, 3] > 0.1
    strength[0, 3] = 0
    assert strength.max() < 1e-6


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = answer(16, 13), answer(16, 14)
    for raw in (student, teacher):
        for value in raw.values():
            value.requires_grad_()
    SoftTargets()(student, teacher)[0].backward()
    assert all(value.grad is None for value in teacher.values())
    assert all(value.grad is not None for value in student.values())


def test_two_branches_learn_each_from_its_own() -> None:
    teacher = {"one2many": answer(1, 15), "one2one": answer(1, 16)}
    student = {"one2many": answer(1, 15), "one2one": answer(1, 17)}
    alone, _ = SoftTargets()(student["one2one"], teacher["one2one"])
    both, _ = SoftTargets()(student, teacher)
    assert float(both) == pytest.approx(float(alone) / 2, rel=1e-5)
    # A student of one branch learns from the teacher's branch of the same kind.
    assert float(SoftTargets()(student["one2many"], teacher)[0]) == 0.0
    assert list(branches(student["one2one"])) == ["one2many"]


def test_reads_the_step_and_names_its_sources() -> None:
    step = DistillStep(kind="distill", temperature=2.0, class_gain=0.5, box_gain=0.25)
    assert SoftTargets.of(step) == SoftTargets(2.0, 0.5, 0.25)
    assert CLASS_SCALE < BINS_SCALE
    assert "Localization Distillation" in sentence(16)
    assert "Localization Distillation" not in sentence(1)
    assert all("Hinton" in sentence(reg_max) for reg_max in (1, 16))
