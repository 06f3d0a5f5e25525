from __future__ import annotations

from typing import Any

import pytest

from deploymark.bench.records.run import CellResult
from deploymark.bench.score.between_cells import disagreement, drift, nothing_beside_others
from deploymark.bench.worker.outputs import OutputFacts


def cell(name: str, map50_95: float | None = 0.4, **more: Any) -> CellResult:
    known: dict[str, Any] = {
        "status": "ok",
        "model": "m",
        "variant": "dense",
        "precision": "fp32",
        "imgsz": 320,
        "map50_95": map50_95,
        "map50": None if map50_95 is None else min(1.0, 1.5 * map50_95),
        "map_images": None if map50_95 is None else 100,
    }
    return CellResult(cell=name, **(known | more))


FULL = cell("full")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (cell("a", 0.399), FULL),
        (cell("a", 0.37, precision="fp16"), FULL),
        (cell("a", 0.30, precision="int8"), FULL),
        (cell("a", 0.25, precision="int8"), cell("b", 0.3, precision="int8")),
        (cell("a", 0.385), cell("b", 0.4, precision="int8")),
        (cell("a", 0.3, map_images=4), cell("b", 0.36, map_images=4)),
        (cell("a", 0.1, variant="l1_50"), FULL),
        (cell("a", 0.1, imgsz=160), FULL),
        (cell("a", 0.1, model="other"), FULL),
        (cell("a", 0.1), cell("b", status="invalid")),
        (cell("a", 0.1), cell("b", 0.4, accuracy_doubt="a cap")),
    ],
)
def test_what_a_precision_explains_is_not_remarked(one: CellResult, other: CellResult) -> None:
    assert disagreement(one, [one, other]) is None


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        # Ultralytics' export with quantize=8 in OpenVINO and in ONNX Runtime
        (
            cell("openvino", 0.0015, precision="int8"),
            cell("onnxruntime", 0.2756, precision="int8"),
            "mAP50-95 0.0015, where onnxruntime of the same weights has 0.2756",
        ),
        (cell("a", 0.3), FULL, "more than fp32 on 100 images explains (a loss of 0.020)"),
        (cell("a", 0.3, precision="fp16"), FULL, "fp16 and fp32"),
        (cell("a", 0.15, precision="int8"), FULL, "0.200"),
        (cell("a", 0.1), cell("b", 0.3, precision="int8"), "where b"),
    ],
)
def test_what_it_does_not_explain_is(one: CellResult, other: CellResult, words: str) -> None:
    found = disagreement(one, [one, other])
    assert found is not None
    assert not found.hard
    assert words in found.words
    assert disagreement(other, [one, other]) is None


def test_without_labels_agreement_tells() -> None:
    reference = cell("r", None)
    one = cell("a", None, agreement=0.5, agreement_reference="r", precision="fp16")
    found = disagreement(one, [one, reference])
    assert found is not None
    assert "agreement with r is 0.500" in found.words
    one.precision = "int8"
    assert disagreement(one, [one, reference]) is None


@pytest.mark.parametrize(
    ("change", "precision", "told"),
    [(-0.3, "fp32", True), (-0.01, "fp32", False), (-0.06, "int8", False), (0.2, "int8", True)],
)
def test_scores_that_drift_are_told(change: float, precision: str, told: bool) -> None:
    one = cell("a", precision=precision, agreement_reference="r", score_drift=change)
    found = drift(one)
    assert (found is not None) == told
    one.variant = "l1_50"  # other weights, other scores
    assert drift(one) is None


def test_nothing_where_another_one_has_some() -> None:
    none, some = cell("none", 0.0), cell("some")
    found = nothing_beside_others(none, [none, some], {}, given=True)
    assert found is not None
    assert found.hard
    assert "mAP is 0, where some has 0.4000" in found.words
    assert "`input: {range: [0, 255]}`" in found.remedy
    assert nothing_beside_others(some, [none, some], {}, given=True) is None
    assert nothing_beside_others(none, [none], {}, given=True) is None


def test_a_pruned_variant_may_truly_find_nothing() -> None:
    none, some = cell("none", 0.0, variant="l1_50"), cell("some", variant="l1_50")
    found = nothing_beside_others(none, [none, some], {}, given=False)
    assert found is not None
    assert not found.hard


def test_nothing_is_told_without_labels_by_what_is_shown() -> None:
    none, some = cell("none", None), cell("some", None)
    facts = {"none": OutputFacts(images=8), "some": OutputFacts(images=8, shown_above=20)}
    found = nothing_beside_others(none, [none, some], facts, given=False)
    assert found is not None
    assert "no box is above a score of 0.25, where some has 20" in found.words
    facts["some"].shown_above = 2
    assert nothing_beside_others(none, [none, some], facts, given=False) is None
