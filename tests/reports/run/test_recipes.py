from __future__ import annotations

from typing import Any

import pytest

from deploymark.reports.run.recipes import options_text, recipe_views, seconds_text

PRUNE = {
    "step": {"kind": "structured", "ratio": 0.3, "macs": None, "importance": "l2", "round_to": 8},
    "status": "ok",
    "seconds": 14.2,
    "reused": False,
    "checkpoint": "/somewhere/model.pt",
    "params": 1_650_000,
    "macs": 472_000_000,
    "nonzero_fraction": 1.0,
    "record": {
        "map50_95_before": 0.7401,
        "map50_95_after": 0.0,
        "selection_images": 64,
        "notes": ["30 % of the channels removed"],
    },
}
TRAIN = {
    "step": {"kind": "finetune", "epochs": 3, "images": None, "hyperparameters": {"mosaic": 0}},
    "status": "ok",
    "seconds": 412.0,
    "reused": True,
    "params": 1_650_000,
    "macs": 472_000_000,
    "nonzero_fraction": 1.0,
    "record": {
        "training_images": 400,
        "epochs": 3,
        "imgsz": 320,
        "map50_95_before": 0.0,
        "map50_95_after": 0.718,
        "history": [{"epoch": n, "box_loss": 1 / n, "lr": 1e-4} for n in (1, 2, 3)],
    },
}


def entry(*steps: dict[str, Any], **values: Any) -> dict[str, Any]:
    known = {"model": "m", "variant": "v", "status": "ok", "reason": None, "remedy": None}
    return known | {"steps": list(steps)} | values


def test_steps_with_their_figures() -> None:
    (view,) = recipe_views([entry(PRUNE, TRAIN)])
    assert (view.name, view.status, view.took) == ("v", "ok", "14 s")
    prune, train = view.steps
    assert (prune.number, prune.kind) == (1, "structured")
    assert prune.options == "ratio 0.3, importance l2, round to 8"
    assert (prune.made, prune.time) == ("made now", "14 s")
    assert (prune.params.text, prune.macs.text, prune.nonzero.text) == ("1.65", "0.472", "1.000")
    assert (prune.before.text, prune.after.text) == ("0.740", "0.000")
    assert prune.before.title == "on 64 images held out of the train split"
    assert prune.notes == ("30 % of the channels removed",)
    assert (train.made, train.time) == ("from the cache", "6 min 52 s")
    assert train.options == "epochs 3"
    assert train.notes == ("Trained: 400 training images, 3 epochs, 320 px.",)
    assert view.charts == ()


def test_charts_are_made_where_asked() -> None:
    (view,) = recipe_views([entry(PRUNE, TRAIN)], with_charts=True)
    assert [(chart.title, chart.key) for chart in view.charts] == [
        ("Training curves of step 2, finetune", "recipe-0-2-0")
    ]
    assert view.charts[0].spec["datasets"]["curves"]


def test_a_failure_with_its_reason() -> None:
    failed = {**PRUNE, "status": "unsupported", "record": {}, "params": None, "macs": None}
    after = {"step": {"kind": "finetune"}, "status": None, "seconds": None, "reused": None}
    (view,) = recipe_views(
        [entry(failed, after, status="unsupported", reason="no such block", remedy="Use l1.")]
    )
    assert (view.status, view.reason, view.remedy) == ("unsupported", "no such block", "Use l1.")
    assert [step.status for step in view.steps] == ["unsupported", "not reached"]
    assert [step.made for step in view.steps] == ["", ""]
    assert view.steps[0].params.absent
    assert view.steps[1].time == "–"  # noqa: RUF001 - the dash of a missing figure


def test_notes_of_distillation_qat_and_cycles() -> None:
    distill = {
        "teacher": {"params": 2_580_000, "macs": 787_000_000, "map50_95": 0.74},
        "student": {"params": 1_000_000, "macs": 300_000_000},
        "loss": "Soft targets (a paper).",
        "ablation": True,
    }
    qat = {"quantized_convolutions": 87, "map50_95_float": 0.741}
    cycles = {
        "cycles": [{"cycle": 1, "kept": True}, {"cycle": 2, "kept": False}],
        "dense_map50_95": 0.75,
    }
    steps = [{"step": {"kind": "x"}, "status": "ok", "record": r} for r in (distill, qat, cycles)]
    (view,) = recipe_views([entry(*steps)])
    assert view.steps[0].notes == (
        "Teacher: 2.58 million parameters, 0.787 billion MACs, mAP50-95 0.740.",
        "Student: 1.00 million parameters, 0.300 billion MACs.",
        "Ablation: trained the same way without the teacher.",
        "Soft targets (a paper).",
    )
    assert view.steps[1].notes == (
        "INT8 simulated in 87 convolutions.",
        "mAP50-95 0.741 without rounding, before the step.",
    )
    assert view.steps[2].notes == ("Kept: cycle 1 of 2 carried out.",)
    assert view.steps[2].before.text == "0.750"


def test_models_are_named_where_there_are_several() -> None:
    names = [view.name for view in recipe_views([entry(), entry(model="n")])]
    assert names == ["m v", "n v"]


@pytest.mark.parametrize("record", [None, [], "x", {"history": "x", "notes": 3, "teacher": []}])
def test_a_record_of_another_shape_is_no_error(record: Any) -> None:
    odd = {"step": None, "status": "ok", "record": record, "seconds": "soon", "params": "many"}
    (view,) = recipe_views([entry(odd, variant=None, steps=[odd, 7])], with_charts=True)
    assert view.steps[0].kind == "step"
    assert view.steps[0].params.absent


def test_options_and_seconds() -> None:
    assert options_text({"kind": "x", "a": 0, "ablation": True, "b": False}) == "a 0, ablation yes"
    texts = [seconds_text(value) for value in (2.13, 59.4, 59.7, 3601, None, -1)]
    dash = "\N{EN DASH}"
    assert texts == ["2.1 s", "59 s", "1 min 0 s", "60 min 1 s", dash, dash]
