from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.inputs import Size
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.gate.judge import MatchedCell, Rules, judge
from deploymark.bench.gate.latency import GateCell, PairedCell
from deploymark.bench.gate.pairing import Measurable, PairRecord
from deploymark.bench.gate.rule import Decision, Interval, verdict
from deploymark.bench.gate.scores import Boxer
from deploymark.bench.gate.sides import ScoredOn, SideCell
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.gate_settings import GateSettings
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.records.verdicts import CellVerdict, Check
from deploymark.bench.store import StoredArtifact
from deploymark.bench.worker.detections import Detections, save_detections
from tests.boxes import found, place_of, random_case

SCORED, DETECTIONS = random_case(0)
DATASET = Dataset(
    name="made up",
    names=("a", "b", "c", "d"),
    scored=tuple(SCORED),
    calibration=(),
    calibration_source="train",
    scored_hash="0" * 64,
    calibration_hash="1" * 64,
)
CELL = Cell("m", "dense", "fp32", "onnxruntime", "cpu", Size.of(320), 1, None)
DETECTOR = {"layout": "anchors", "names": ["a", "b", "c", "d"]}
ARTIFACT = StoredArtifact(Path("folder"), "model.onnx", "0" * 64, 1000, 900, DETECTOR, {}, {}, 0.0)

Judged = Callable[..., CellVerdict]


def side(folder: Path, name: str, dataset: Dataset = DATASET, size: int = 1000) -> SideCell:
    """A side whose boxes a run left."""
    path = folder / f"{name}.npz"
    save_detections(path, DETECTIONS)
    artifact = dataclasses.replace(ARTIFACT, bytes=size)
    return SideCell(
        Measurable(CELL, 1, artifact, folder / "images.npy"),
        ScoredOn(dataset, tuple(place_of(image) for image in SCORED), {n: n for n in range(4)}),
        path,
    )


def pair(baseline_ms: float, candidate_ms: float, *memory_bytes: int | None) -> PairRecord:
    """A pair of two bursts a side, with the peak of memory of each side that told it."""
    told: list[dict[str, Any]] = [
        {"warmup": {"steady": True}} | ({} if value is None else {"peak_rss_bytes": value})
        for value in memory_bytes or (None, None)
    ]
    times = [[[round(ms * 1e6)] * 3] * 2 for ms in (baseline_ms, candidate_ms)]
    return PairRecord(
        Outcome("ok"),
        seconds=2.0,
        log_ratio=0.0,
        latency_ns=(times[0], times[1]),
        sides=(told[0], told[1]),
    )


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    """Judge a cell whose latency came to an interval of log-ratios."""

    def run(
        low: float = -0.002,
        high: float = 0.002,
        *,
        settings: GateSettings | None = None,
        baseline: SideCell | None = None,
        candidate: SideCell | None = None,
        records: Sequence[PairRecord] | None = None,
        **paired: Any,
    ) -> CellVerdict:
        settings = settings or GateSettings()
        cell = MatchedCell(
            CELL.id, baseline or side(tmp_path, "one"), candidate or side(tmp_path, "other")
        )
        interval = Interval((low + high) / 2, low, high, 8)
        said = verdict(interval, settings.min_effect)
        given = {
            "cell": GateCell(CELL.id, cell.baseline.measurable, cell.candidate.measurable),
            "decision": Decision(said, interval, 40 if said == "inconclusive" else None),
            "records": list(records or [pair(10, 10.1)] * 8),
        }
        return judge(
            cell,
            PairedCell(**(given | paired)),
            Rules(settings, Validity(), error=0.05, seed=0),
            Boxer(tmp_path, tmp_path),
            tmp_path,
            lambda _: None,
        )

    return run


def check_of(cell: CellVerdict, figure: str) -> Check:
    (one,) = [check for check in cell.checks if check.figure == figure]
    return one


@pytest.mark.parametrize(
    ("low", "high", "said", "words"),
    [
        (0.02, 0.03, "regressed", "slower: the interval [+2.02%, +3.05%] lies above +1.0%"),
        (-0.03, -0.02, "improved", "faster: the interval [-2.96%, -1.98%] lies below -1.0%"),
        (-0.002, 0.003, "unchanged", "the interval [-0.20%, +0.30%] lies within ±1.0%"),
        (0.005, 0.02, "inconclusive", "is neither inside nor clear of ±1.0%"),
        (-0.02, 0.02, "inconclusive", "is neither inside nor clear of ±1.0%"),
        (-0.02, 0.005, "inconclusive", "slower by more than that is ruled out"),
    ],
)
def test_an_interval_of_latency_is_put_into_words(
    judged: Judged, low: float, high: float, said: str, words: str
) -> None:
    cell = judged(low, high)
    check = check_of(cell, "latency_p50_ms")
    assert check.verdict == said
    assert words in check.reason
    assert ("ruled out" in check.reason) == ("ruled out" in words)
    assert check.confidence == pytest.approx(0.95)
    assert (check.baseline, check.candidate) == (10.0, 10.1)


def test_an_open_cell_says_what_would_decide_it(judged: Judged) -> None:
    cell = judged(0.005, 0.02)
    assert cell.verdict == "inconclusive"
    assert cell.reason == check_of(cell, "latency_p50_ms").reason
    assert cell.remedy == "About 40 pairs would decide: --max-pairs 40 --budget-s 90"
    at_threshold = judged(decision=Decision("inconclusive", Interval(0.01, 0.0, 0.02, 8)))
    assert "at the threshold" in at_threshold.remedy


def nonsense(folder: Path, name: str) -> SideCell:
    """A side whose boxes are nowhere near the labels."""
    one = side(folder, name)
    away = [
        dataclasses.replace(image, boxes=image.boxes * 0 + np.float32([1, 1, 2, 2]))
        for image in DETECTIONS
    ]
    save_detections(folder / f"{name}.npz", away)
    return one


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (("baseline",), "inconclusive"),
        (("candidate",), "regressed"),
        (("baseline", "candidate"), "inconclusive"),
    ],
)
def test_nonsense_is_never_unchanged(
    judged: Judged, tmp_path: Path, bad: tuple[str, ...], said: str
) -> None:
    cell = judged(**{name: nonsense(tmp_path, name) for name in bad})
    assert (cell.verdict, cell.status) == (said, "invalid")
    assert f"the {bad[0]}: mAP50 is 0.0000" in cell.reason
    assert cell.remedy


def test_the_time_may_end_before_a_second_pair(judged: Judged) -> None:
    cell = judged(decision=None, records=[pair(10, 12)])
    assert cell.verdict == "inconclusive"
    assert "before a second pair" in cell.reason


def test_the_worst_figure_is_the_verdict(judged: Judged, tmp_path: Path) -> None:
    cell = judged(candidate=side(tmp_path, "other", size=1100))
    assert check_of(cell, "latency_p50_ms").verdict == "unchanged"
    assert check_of(cell, "map50_95").verdict == "unchanged"
    assert cell.verdict == check_of(cell, "artifact_bytes").verdict == "regressed"
    assert cell.reason == check_of(cell, "artifact_bytes").reason


def test_a_setting_that_ships_nowhere_is_told_and_breaks_no_budget(
    judged: Judged, tmp_path: Path
) -> None:
    records = [pair(10, 10.1)] * 8
    rested = [
        dataclasses.replace(
            record, sides=tuple({**one, "rested": {"stop_spinning": True}} for one in record.sides)
        )
        for record in records
    ]
    asked = GateSettings.model_validate({"latency_p50_ms": {"max": 10}})
    alone = judged(settings=asked, records=rested)
    assert not alone.warnings, "one thread waits for nobody"
    assert alone.verdict == "regressed"
    two = side(tmp_path, "two")
    two = dataclasses.replace(two, measurable=dataclasses.replace(two.measurable, threads=2))
    cell = judged(settings=asked, records=rested, candidate=two)
    assert "both sides ran with stop_spinning: true" in cell.warnings[0]
    (budget,) = [check for check in cell.checks if check.kind == "budget"]
    assert budget.verdict == "inconclusive"
    assert "slower than it ships" in budget.reason
    within = GateSettings.model_validate({"latency_p50_ms": {"max": 11}})
    cell = judged(settings=within, records=rested, candidate=two)
    assert [item.verdict for item in cell.checks if item.kind == "budget"] == ["unchanged"]


def test_a_budget_holds_the_candidate_alone(judged: Judged) -> None:
    settings = GateSettings.model_validate({"latency_p50_ms": {"max": 10.05}})
    cell = judged(settings=settings)
    (budget,) = [check for check in cell.checks if check.kind == "budget"]
    assert (budget.verdict, budget.candidate) == ("regressed", 10.1)
    assert cell.verdict == "regressed"


def test_lost_boxes_are_a_drop_of_map(judged: Judged, tmp_path: Path) -> None:
    worse = side(tmp_path, "other")
    assert worse.predictions is not None
    save_detections(worse.predictions, [shifted(image) for image in SCORED])
    check = check_of(judged(candidate=worse), "map50_95")
    assert check.verdict == "regressed"
    assert check.change is not None
    assert check.change < -0.1


def shifted(image: ImageLabels) -> Detections:
    """The labels as boxes, each too far to the right."""
    boxes = image.boxes + np.array([60, 0, 60, 0])
    return found(image, boxes, [0.9] * len(boxes), image.classes.tolist())


def test_map_of_different_images_is_not_compared(judged: Judged, tmp_path: Path) -> None:
    other = dataclasses.replace(DATASET, scored_hash="f" * 64)
    check = check_of(judged(candidate=side(tmp_path, "other", other)), "map50_95")
    assert check.verdict == "inconclusive"
    assert "different images" in check.reason
    bare = dataclasses.replace(DATASET, labelled=False)
    cell = judged(baseline=side(tmp_path, "one", bare), candidate=side(tmp_path, "other", bare))
    assert "map50_95" not in {check.figure for check in cell.checks}
    assert cell.verdict == "unchanged"


def test_memory_that_one_side_told_alone_is_not_compared(judged: Judged) -> None:
    check = check_of(judged(records=[pair(10, 10.1, 1 << 20, None)] * 8), "peak_rss_bytes")
    assert check.verdict == "inconclusive"
    assert "the side of the baseline alone" in check.reason
    both = [pair(10, 10.1, 100 << 20, (150 << 20) + count) for count in range(8)]
    assert check_of(judged(records=both), "peak_rss_bytes").verdict == "regressed"


@pytest.mark.parametrize(
    ("failed", "said"), [("candidate", "regressed"), ("baseline", "inconclusive")]
)
def test_who_fails_decides(judged: Judged, failed: str, said: str) -> None:
    outcome = Outcome("crashed", "killed by signal 11", "update it")
    cell = judged(outcome=outcome, failed_side=failed)
    assert (cell.status, cell.verdict, cell.remedy) == ("crashed", said, "update it")
    assert cell.reason == f"the {failed}: killed by signal 11"
    assert cell.checks == []


def test_workers_that_were_not_steady_are_told(judged: Judged) -> None:
    wobbly = pair(10, 10.1)
    wobbly.sides[1]["warmup"] = {"steady": False}
    cell = judged(records=[wobbly, *[pair(10, 10.1)] * 7])
    assert cell.warnings == ["1 of 16 workers were not steady when the warm-up ended"]
