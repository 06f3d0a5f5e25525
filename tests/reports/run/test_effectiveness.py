from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deploymark.bench.matrix.cells import AS_IS, DENSE
from deploymark.bench.records.run import CellResult
from deploymark.reports.run.effectiveness import UNCHANGED, Effect, SpeedUp, effects_of

MakeCell = Callable[..., CellResult]


@pytest.fixture
def make(make_cell: MakeCell) -> MakeCell:
    """A cell whose id is made of its axes, as those of a run are."""

    def of(variant: str = "l1_50", **values: Any) -> CellResult:
        axes = {"precision": "fp32", "backend": "onnxruntime", "imgsz": 320} | values
        cell = f"m-{variant}-{axes['precision']}-{axes['backend']}-cpu-{axes['imgsz']}"
        return make_cell(axes.pop("cell", cell), variant=variant, **axes)

    return of


def only(cells: list[CellResult]) -> Effect:
    (group,) = effects_of(cells)
    (effect,) = group.effects
    return effect


def test_unchanged_are_the_variants_without_a_recipe() -> None:
    assert {DENSE, AS_IS} == UNCHANGED


def test_figures_are_compared_with_the_dense_cell(make: MakeCell) -> None:
    effect = only(
        [
            make(
                "dense",
                latency_p50_ms=20.0,
                latency_ci_low_ms=19.0,
                latency_ci_high_ms=21.0,
                map50_95=0.74,
                macs=800,
                params=100,
                artifact_gzip_bytes=1000,
                model_rss_bytes=400,
            ),
            make(
                latency_p50_ms=10.0,
                latency_ci_low_ms=9.5,
                latency_ci_high_ms=10.5,
                map50_95=0.732,
                macs=480,
                params=64,
                artifact_gzip_bytes=620,
                model_rss_bytes=300,
            ),
        ]
    )
    speed = effect.speed_up
    assert speed is not None
    assert speed.ratio == 2.0
    assert speed.low == pytest.approx(19.0 / 10.5)
    assert speed.high == pytest.approx(21.0 / 9.5)
    assert speed.verdict == "faster"
    assert effect.map_points == pytest.approx(-0.8)
    assert effect.change("macs") == pytest.approx(-0.4)
    assert effect.change("params") == pytest.approx(-0.36)
    assert effect.change("artifact_gzip_bytes") == pytest.approx(-0.38)
    assert effect.memory is not None
    assert effect.memory.name == "model RSS"
    assert effect.memory.change == pytest.approx(-0.25)
    assert effect.words == "40 % fewer MACs, 100 % faster"


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((8.0, 7.9, 8.9), "faster"),
        ((9.0, 8.0, 9.2), "no faster"),
        ((10.0, 9.9, 10.1), "no faster"),
        ((12.0, 10.9, 13.0), "no faster"),
        ((12.0, 11.2, 13.0), "slower"),
    ],
)
def test_no_faster_just_where_the_intervals_overlap(
    make: MakeCell, ours: tuple[float, float, float], verdict: str
) -> None:
    dense = make("dense", latency_p50_ms=10.0, latency_ci_low_ms=9.0, latency_ci_high_ms=11.0)
    p50, low, high = ours
    cell = make(latency_p50_ms=p50, latency_ci_low_ms=low, latency_ci_high_ms=high)
    speed = only([dense, cell]).speed_up
    assert speed is not None
    assert speed.verdict == verdict


@pytest.mark.parametrize(
    ("p50", "low", "high", "words"),
    [
        (10.0, 9.8, 10.2, "50 % sparse, 0 % faster"),
        (9.8, 9.6, 10.1, "50 % sparse, no faster (+2 %)"),
        (8.0, 7.9, 8.1, "50 % sparse, 25 % faster"),
        (12.5, 12.4, 12.6, "50 % sparse, 20 % slower"),
        (8.0, None, None, "50 % sparse, +25 % speed by one launch"),
    ],
)
def test_half_sparse_and_no_faster_is_plain_to_see(
    make: MakeCell, p50: float, low: float | None, high: float | None, words: str
) -> None:
    dense = make("dense", latency_p50_ms=10.0, latency_ci_low_ms=9.9, latency_ci_high_ms=10.1)
    cell = make(
        latency_p50_ms=p50, latency_ci_low_ms=low, latency_ci_high_ms=high, nonzero_fraction=0.5
    )
    assert only([dense, cell]).words == words


def test_zeros_that_dense_has_too_are_no_sparsity(make: MakeCell) -> None:
    dense = make("dense", nonzero_fraction=0.9)
    assert only([dense, make(nonzero_fraction=0.9)]).zeros is None
    assert only([dense, make(nonzero_fraction=0.5)]).zeros == 0.5


def test_a_student_may_be_larger(make: MakeCell) -> None:
    assert only([make("dense", macs=100), make(macs=150)]).words == "50 % more MACs, 0 % faster"
    assert only([make("dense", macs=100), make(macs=100)]).words == "as large as dense, 0 % faster"


def test_quantization_aware_compares_with_int8(make: MakeCell) -> None:
    cells = [
        make("dense", latency_p50_ms=20.0),
        make("dense", precision="int8", latency_p50_ms=9.0),
        make("qat", precision="int8-qat", latency_p50_ms=10.0),
    ]
    effect = only(cells)
    assert effect.dense is cells[1]
    assert effect.speed_up is not None
    assert effect.speed_up.ratio == pytest.approx(0.9)


@pytest.mark.parametrize(
    "other",
    [
        {"backend": "openvino"},
        {"precision": "int8"},
        {"imgsz": 640},
        {"device": "gpu"},
        {"batch": 2},
        {"threads": 1},
        {"model": "n"},
    ],
)
def test_only_a_dense_cell_of_the_same_place_compares(
    make: MakeCell, other: dict[str, Any]
) -> None:
    effect = only([make("dense", **other), make()])
    assert effect.dense is None
    assert effect.speed_up is None
    assert effect.map_points is None
    assert "no dense fp32 cell of onnxruntime" in effect.missing
    assert effect.words.endswith("speed-up unknown")


def test_the_models_own_figures_compare_over_backends(make: MakeCell) -> None:
    effect = only([make("dense", backend="openvino", macs=100), make(macs=60, artifact_bytes=1)])
    assert effect.change("macs") == pytest.approx(-0.4)
    assert effect.change("artifact_bytes") is None


def test_a_dense_cell_that_failed_is_the_reason(make: MakeCell) -> None:
    effect = only([make("dense", status="crashed"), make()])
    assert effect.dense is None
    assert effect.missing == "the dense cell m-dense-fp32-onnxruntime-cpu-320 ended as crashed"


def test_auto_threads_and_the_same_number_are_told_apart(make: MakeCell) -> None:
    cells = [
        make("dense", cell="m-dense-fp32-onnxruntime-cpu-320-t2"),
        make("dense"),
        make(cell="m-l1_50-fp32-onnxruntime-cpu-320"),
        make(cell="m-l1_50-fp32-onnxruntime-cpu-320-t2"),
    ]
    (group,) = effects_of(cells)
    assert [effect.dense for effect in group.effects] == [cells[1], cells[0]]


def test_rows_are_of_ok_cells_by_backend_and_precision(make: MakeCell) -> None:
    cells = [
        make("dense", backend="openvino"),
        make("as-is"),
        make(precision="int8"),
        make(precision="fp32"),
        make(precision="fp32", backend="openvino"),
        make(status="timeout", precision="fp16"),
        make("z"),
        make("l1_50", model="n"),
    ]
    groups = effects_of(cells)
    assert [(group.model, group.variant) for group in groups] == [
        ("m", "l1_50"),
        ("m", "z"),
        ("n", "l1_50"),
    ]
    found = [(effect.cell.backend, effect.cell.precision) for effect in groups[0].effects]
    assert found == [("openvino", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")]


def test_memory_falls_back_to_what_both_cells_have(make: MakeCell) -> None:
    dense = make("dense", peak_rss_bytes=100)
    memory = only([dense, make(model_rss_bytes=7, peak_rss_bytes=90)]).memory
    assert memory is not None
    assert (memory.name, memory.size_bytes) == ("peak RSS", 90)
    assert memory.change == pytest.approx(-0.1)
    alone = only([make(model_rss_bytes=7, peak_rss_bytes=90)]).memory
    assert alone is not None
    assert (alone.name, alone.change) == ("model RSS", None)


def test_a_latency_of_zero_makes_no_speed_up(make: MakeCell) -> None:
    assert only([make("dense"), make(latency_p50_ms=0.0)]).speed_up is None
    assert only([make("dense", latency_p50_ms=None), make()]).speed_up is None


def test_an_interval_end_below_zero_is_none() -> None:
    assert SpeedUp(1.0, None, None).verdict == "not told"


def test_a_run_of_dense_cells_has_no_effects(make: MakeCell) -> None:
    assert effects_of([make("dense"), make("as-is")]) == []
