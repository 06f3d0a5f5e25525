from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures, tables


def shown(cell: CellResult, key: str) -> tables.Field:
    return tables.field(cell, tables.BY_KEY[key])


def test_every_column_is_a_field_of_the_results() -> None:
    names = {field.name for field in dataclasses.fields(CellResult)}
    assert {column.key for column in tables.COLUMNS} <= names


def test_figures_are_in_the_unit_of_their_column(make_cell: Callable[..., CellResult]) -> None:
    cell = make_cell(energy_j_per_image=0.0123, params=2_600_000, energy_source="rapl:package-0")
    assert shown(cell, "latency_p50_ms").text == "12.3"
    assert shown(cell, "latency_p50_ms").value == pytest.approx(12.345)
    assert shown(cell, "latency_p50_ms").extra == "[12.1, 12.6]"
    assert (shown(cell, "peak_rss_bytes").text, tables.BY_KEY["peak_rss_bytes"].unit) == (
        "200",
        "MiB",
    )
    energy = shown(cell, "energy_j_per_image")
    assert (energy.text, energy.title, energy.extra) == ("12.3", "rapl:package-0", "")
    assert shown(cell, "params").text == "2.60"
    assert shown(cell, "map50_95").text == "0.394"
    assert "100 images" in shown(cell, "map50_95").title
    assert shown(cell, "iterations").text == "900"


def test_a_modelled_energy_says_so(make_cell: Callable[..., CellResult]) -> None:
    cell = make_cell(
        energy_j_per_image=1.0, energy_source="modelled from processor time", energy_kind="modelled"
    )
    assert shown(cell, "energy_j_per_image").extra == "modelled"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_figure_that_was_not_measured_has_no_value(
    make_cell: Callable[..., CellResult], value: float | None
) -> None:
    field = shown(make_cell(cold_ms=value), "cold_ms")
    assert field.absent
    assert field.value is None
    assert field.text == figures.ABSENT


def test_an_absent_figure_says_why(
    make_cell: Callable[..., CellResult], make_failed: Callable[..., CellResult]
) -> None:
    cell = make_cell()
    assert "no RAPL" in shown(cell, "energy_j_per_image").title
    assert "900 iterations, 1000 needed" in shown(cell, "latency_p99_ms").title
    assert "two launches" in shown(make_cell(latency_ci_low_ms=None), "latency_p50_ms").title
    assert "crashed" in shown(make_failed("a"), "latency_p50_ms").title
    assert "no labels" in shown(make_cell(map50_95=None), "map50_95").title
    assert shown(make_failed("a"), "launches").absent


def test_how_sure_a_figure_is_stands_in_its_title(make_cell: Callable[..., CellResult]) -> None:
    cell = make_cell(
        launches=6,
        interval_half_width=0.0312,
        latency_p95_ci_low_ms=13.0,
        latency_p95_ci_high_ms=14.0,
        warmup_ms=120.0,
        warmup_iterations=25.0,
        steady_launches=5,
        disturbed_launches=2,
    )
    titles = {key: shown(cell, key).title for key in ("latency_p50_ms", "latency_p95_ms")}
    assert titles["latency_p50_ms"] == "±3.1 % over 6 launches"
    assert titles["latency_p95_ms"].endswith("over launches [13.0, 14.0]")
    assert (shown(cell, "warmup_ms").text, shown(cell, "warmup_ms").title) == (
        "120",
        "25 inferences",
    )
    assert shown(cell, "launches").title == "5 steady when their warm-up ended"
    assert shown(cell, "disturbed_launches").text == "2"
    calm = [make_cell(disturbed_launches=0)]
    assert not tables.shown_columns(calm)["disturbed_launches"]


def test_a_disturbed_cell_is_marked_and_says_by_what(make_cell: Callable[..., CellResult]) -> None:
    reason = "4 of 4 launches were disturbed: steal"
    cell = make_cell(disturbed=True, reason=reason, interval_half_width=0.2)
    assert (shown(cell, "status").extra, shown(cell, "status").title) == (tables.DISTURBED, reason)
    assert shown(cell, "latency_p50_ms").title == f"±20 % over 3 launches\n{reason}"
    calm = make_cell(interval_half_width=0.2)
    assert shown(calm, "status").extra == ""
    assert shown(calm, "latency_p50_ms").title == "±20 % over 3 launches"


def test_a_long_text_is_whole_in_its_title(make_cell: Callable[..., CellResult]) -> None:
    text = ", ".join(f"Layer{index}:f32 ×{index}" for index in range(40))
    assert shown(make_cell(executed_precision=text), "executed_precision").title == text


def test_a_measured_zero_is_a_figure(make_cell: Callable[..., CellResult]) -> None:
    field = shown(make_cell(map50_95=0.0), "map50_95")
    assert (field.text, field.value, field.absent) == ("0.000", 0.0, False)


def test_empty_columns_and_common_axes_are_folded(
    make_cell: Callable[..., CellResult], make_failed: Callable[..., CellResult]
) -> None:
    cells = [make_cell("a"), make_cell("b", imgsz=640), make_failed("c")]
    visible = tables.shown_columns(cells)
    assert visible["imgsz"]
    assert visible["latency_p50_ms"]
    assert visible["backend"]
    assert not visible["device"]
    assert not visible["energy_j_per_image"]
    assert not visible["executed_precision"]
    assert tables.common_axes(cells) == [
        ("model", "m"),
        ("device", "cpu"),
        ("batch", "1"),
        ("threads", "2"),
    ]


def test_agreement_names_its_reference(make_cell: Callable[..., CellResult]) -> None:
    cell = make_cell(agreement=0.98765, score_drift=-0.0123, agreement_reference="dense")
    assert (shown(cell, "agreement").text, shown(cell, "agreement").title) == (
        "0.988",
        "with dense",
    )
    drift = shown(cell, "score_drift")
    assert (drift.text, drift.value) == ("−0.012", pytest.approx(-0.0123))  # noqa: RUF001
    assert shown(make_cell(), "agreement").title == "not compared"
    empty = make_cell(agreement_reference="dense")
    assert shown(empty, "agreement").title == "no boxes to compare"


def test_a_map_that_is_no_figure_or_is_cut_says_why(
    make_cell: Callable[..., CellResult],
) -> None:
    reason = "outputs are not finite on 3 of 24 images"
    invalid = make_cell(status="invalid", reason=reason, map50_95=None)
    assert shown(invalid, "map50_95").title == f"not measured: invalid: {reason}"
    cut = make_cell(map50_95=0.08, map_images=24, accuracy_doubt="a floor of scores")
    assert shown(cut, "map50_95").title == "over 24 images\na floor of scores"


def test_notes_are_folded_away_and_whole_in_their_title(
    make_cell: Callable[..., CellResult],
) -> None:
    cells = [make_cell(notes=["One.", "Two."]), make_cell()]
    field = shown(cells[0], "notes")
    assert (field.text, field.title) == ("One. Two.", "One. Two.")
    assert shown(cells[1], "notes").absent
    assert tables.shown_columns(cells)["notes"] is False


def test_no_cells_show_no_figures() -> None:
    visible = tables.shown_columns([])
    assert visible["cell"]
    assert not visible["latency_p50_ms"]
    assert tables.common_axes([]) == []
