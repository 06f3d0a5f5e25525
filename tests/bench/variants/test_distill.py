from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import UnsupportedError
from deploymark.bench.matrix.steps import DistillStep, FinetuneStep
from deploymark.bench.variants.apply import run_step

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

from deploymark.bench.variants.architectures import architectures, build  # noqa: E402
from deploymark.bench.variants.checkpoint import (  # noqa: E402
    describe,
    exportable,
    load_detector,
    save_detector,
)
from deploymark.bench.variants.distill import Teacher, check_classes, check_heads  # noqa: E402
from deploymark.bench.variants.distill_loss import SoftTargets, branches  # noqa: E402

PIXELS = 64
SHORT: dict[str, Any] = {"epochs": 1, "batch": 8}


def distill(**changes: Any) -> DistillStep:
    return DistillStep(kind="distill", **{**SHORT, **changes})


def context(step_context: Any, **changes: Any) -> Any:
    return step_context(training=8, selection=2, imgsz=PIXELS, **changes)


def same_weights(first: Any, second: Any) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "seconds"}


def saved(module: Any, path: Path) -> str:
    save_detector(module, path)
    return str(path)


def test_an_architecture_learns_from_the_original(
    detector: Any, step_context: Any, tmp_path: Path
) -> None:
    place = context(step_context)
    student, record = run_step(detector, distill(student="yolov8n-ghost.yaml"), place)
    (epoch,) = record["history"]
    assert epoch["distill_class"] > 0
    assert epoch["distill_box"] > 0
    assert record["ablation"] is False
    assert "Hinton" in record["loss"]
    assert 0 <= record["teacher"]["map50_95"] <= 1
    assert record["student"]["params"] < record["teacher"]["params"]
    assert record["student"]["macs"] < record["teacher"]["macs"]
    assert not any(place.folder.iterdir())

    # What comes out is a checkpoint like any other, with the teacher's classes.
    opened = load_detector(Path(saved(student, tmp_path / "student.pt")))
    facts = describe(exportable(opened, PIXELS), PIXELS)
    assert facts.names == tuple("0123456789")
    assert facts.family == "yolov8n-ghost"
    assert facts.params == record["student"]["params"]
    assert facts.macs == record["student"]["macs"]
    assert opened.args["imgsz"] == 320


def test_ablation_is_the_same_training_without_the_teacher(
    detector: Any, step_context: Any
) -> None:
    place = context(step_context)
    alone, record = run_step(copy.deepcopy(detector), distill(ablation=True), place)
    tuned, tuning = run_step(detector, FinetuneStep(kind="finetune", **SHORT), place)
    assert same_weights(alone, tuned)
    assert record["ablation"] is True
    assert record["loss"] == "the detection loss alone"
    assert record["teacher"]["macs"] == record["student"]["macs"]
    assert [timeless(entry) for entry in record["history"]] == [
        timeless(entry) for entry in tuning["history"]
    ]


def test_teacher_and_student_may_be_checkpoints_with_two_heads(
    detector: Any, step_context: Any, tmp_path: Path
) -> None:
    teacher = saved(build("yolo26n.yaml", detector, 1), tmp_path / "teacher.pt")
    student = saved(build("yolo26n.yaml", detector, 2), tmp_path / "student.pt")
    step = distill(teacher=teacher, student=student)
    trained, record = run_step(detector, step, context(step_context))
    assert trained.model[-1].reg_max == 1
    assert record["history"][0]["distill_box"] > 0
    assert "no bins" in record["loss"]


def test_the_teacher_stays_as_it_is_and_answers_raw(detector: Any) -> None:
    kept = copy.deepcopy(detector)
    with torch.no_grad():
        _, raw = kept.eval()(torch.rand(2, 3, PIXELS, PIXELS))
    images = torch.rand(2, 3, PIXELS, PIXELS)
    student = copy.deepcopy(detector).train().requires_grad_(requires_grad=True)
    teacher = Teacher(detector, SoftTargets())
    loss, parts = teacher(images, student(images))
    loss.backward()
    assert set(branches(raw)) == {"one2many"}
    assert sum(parts.values()) > 0
    assert any(float(value.grad.abs().max()) > 0 for value in student.parameters())
    assert all(value.grad is None for value in detector.parameters())
    assert same_weights(detector, kept)  # averages of batch normalisation, too

    # A student that answers as the teacher does in use has nothing to learn.
    with torch.no_grad():
        _, raw = kept(images)
        loss, _ = teacher(images, raw)
    assert float(loss) == 0.0


def test_both_heads_of_a_student_are_taught(detector: Any) -> None:
    student = build("yolo26n.yaml", detector, 0).train().requires_grad_(requires_grad=True)
    images = torch.rand(2, 3, PIXELS, PIXELS)
    loss, _ = Teacher(build("yolo26n.yaml", detector, 1), SoftTargets())(images, student(images))
    loss.backward()
    head = student.model[-1]
    for layers in (head.cv2, head.cv3, head.one2one_cv2, head.one2one_cv3):
        assert float(layers[0][-1].weight.grad.abs().max()) > 0


def test_other_classes_are_refused(detector: Any, step_context: Any, tmp_path: Path) -> None:
    other = copy.deepcopy(detector)
    other.names = {**detector.names, 3: "three"}
    step = distill(teacher=saved(other, tmp_path / "other.pt"))
    with pytest.raises(UnsupportedError, match=r"class 3 of the teacher is 'three', .* '3'"):
        run_step(detector, step, context(step_context))
    fewer = copy.deepcopy(detector)
    fewer.names = {0: "0", 1: "1"}
    with pytest.raises(UnsupportedError, match="the student has 2 classes, the model 10"):
        check_classes("student", fewer, detector)
    check_classes("teacher", detector, detector)


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ("yolo11n.yaml", "yolo26n.yaml", "reg_max 16, the student's 1"),
        (
            "yolo11n.yaml",
            "yolov8n-p2.yaml",
            r"strides \[8, 16, 32\], the student's \[4, 8, 16, 32\]",
        ),
        ("yolo11n.yaml", "yolov10n.yaml", "the student has a one-to-one head"),
        ("yolov10n.yaml", "yolo11n.yaml", None),
    ],
)
def test_other_heads_are_refused(
    detector: Any, teacher: str, student: str, message: str | None
) -> None:
    pair = build(teacher, detector, 0), build(student, detector, 0)
    if message is None:
        check_heads(*pair)
        return
    with pytest.raises(UnsupportedError, match=message):
        check_heads(*pair)


def test_unknown_architecture_names_a_near_one(detector: Any, step_context: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"did you mean 'yolo11n\.yaml'") as caught:
        run_step(detector, distill(student="yolo11nn.yaml"), context(step_context))
    assert ".pt" in caught.value.remedy
    known = architectures()
    assert {"yolo11n.yaml", "yolo26s-p2.yaml", "yolov9c.yaml", "yolov10b.yaml"} <= set(known)
    assert not {"yolo11.yaml", "yolo11n-seg.yaml", "rtdetr-l.yaml"} & set(known)


def test_weights_are_drawn_by_the_seed_alone(detector: Any) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build("yolo11n.yaml", detector, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same_weights(first, again)
    assert not same_weights(first, other)
