from __future__ import annotations

from collections.abc import Callable

from deploymark.bench.records.run import CellResult
from deploymark.reports.page.tables import Field
from deploymark.reports.run.effect_table import EffectTable, effect_table
from deploymark.reports.run.effectiveness import effects_of

MakeCell = Callable[..., CellResult]


def row(table: EffectTable, index: int = 0) -> dict[str, Field]:
    rows = [each for _, some in table.groups for each in some]
    return dict(zip((c.title for c in table.columns), rows[index].fields, strict=True))


def test_figures_and_their_change(make_cell: MakeCell) -> None:
    dense = make_cell(
        "d",
        params=2_580_000,
        macs=787_000_000,
        artifact_gzip_bytes=9 << 20,
        nonzero_fraction=1.0,
        model_rss_bytes=40 << 20,
    )
    cell = make_cell(
        "v",
        variant="v",
        params=1_651_200,
        macs=472_200_000,
        artifact_bytes=5 << 20,
        artifact_gzip_bytes=6 << 20,
        nonzero_fraction=0.75,
        model_rss_bytes=30 << 20,
        map50_95=0.3841,
        latency_p50_ms=8.23,
        latency_ci_low_ms=8.2,
        latency_ci_high_ms=8.26,
    )
    table = effect_table(effects_of([dense, cell]))
    fields = {title: f"{f.text} {f.extra}".rstrip() for title, f in row(table).items()}
    assert fields == {
        "in words": "25 % sparse and 40 % fewer MACs, 50 % faster",
        "speed-up": "1.50× [1.46, 1.54]",
        "p50": "8.23",
        "memory": "30.0 −25 %",  # noqa: RUF001 - the minus sign
        "mAP50-95": "0.384 −1.0 pt",  # noqa: RUF001
        "parameters": "1.65 −36 %",  # noqa: RUF001
        "MACs": "0.472 −40 %",  # noqa: RUF001
        "non-zero": "0.750",
        "artifact": "5.00 −50 %",  # noqa: RUF001
        "gzip": "6.00 −33 %",  # noqa: RUF001
    }
    assert row(table)["p50"].title == "8.23 [8.20, 8.26] ms; dense: 12.3 [12.1, 12.6] ms"
    assert row(table)["MACs"].title == "dense: 0.787 billion"
    assert table.groups[0][0] == "v"
    assert (table.groups[0][1][0].cell, table.groups[0][1][0].label) == ("v", "onnxruntime fp32")


def test_without_a_dense_cell_the_reason_is_told(make_cell: MakeCell) -> None:
    table = effect_table(effects_of([make_cell("v", variant="v")]))
    speed = row(table)["speed-up"]
    assert speed.absent
    assert "no dense fp32 cell of onnxruntime" in speed.title
    accuracy = row(table)["mAP50-95"]
    assert (accuracy.text, accuracy.extra) == ("0.394", "")
    assert "no dense fp32 cell" in accuracy.title


def test_agreement_stands_in_for_accuracy(make_cell: MakeCell) -> None:
    labelled = effects_of([make_cell("d"), make_cell("v", variant="v", agreement=0.9)])
    assert "agreement" not in row(effect_table(labelled))
    without = [make_cell("d", map50_95=None)]
    without.append(make_cell("v", variant="v", agreement=0.9, map50_95=None))
    fields = row(effect_table(effects_of(without)))
    assert fields["agreement"].text == "0.900"
    assert "mAP50-95" not in fields


def test_labels_name_the_axes_that_differ(make_cell: MakeCell) -> None:
    cells = [make_cell("a", variant="v"), make_cell("b", variant="v", imgsz=640, model="n")]
    table = effect_table(effects_of(cells))
    assert [(name, rows[0].label) for name, rows in table.groups] == [
        ("m v", "onnxruntime fp32 320 px"),
        ("n v", "onnxruntime fp32 640 px"),
    ]
