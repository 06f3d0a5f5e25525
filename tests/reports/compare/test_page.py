from __future__ import annotations

import dataclasses
import json
import re

import pytest

from deploymark.bench.records.comparison import Comparison, Difference
from deploymark.reports.compare import page as compare_page
from deploymark.reports.compare.chart import compare_chart


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(compare_page, "VegaBundle", quick_bundle)


def test_page(comparison: Comparison) -> None:
    html = compare_page.render_compare_page(comparison)
    for words in (
        "2 machines compared",
        "It describes only.",
        '<td class="n best block" title="95 % CI [9.90, 10.1]">10.0 <small>[9.90, 10.1]</small>',
        "11.0~ <small>1.10× [1.05, 1.15]</small>",
        ">crashed</td>",
        "onnxruntime",
        "only jetson",
        "A CPU",
    ):
        assert words in html
    assert "default-src 'none'" in html
    assert not re.search(r"<(link|iframe|img|object|embed|base)\b|\bsrc=|href=\"[^#]", html)
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections == re.findall(r'<a href="#(\w+)"', html)


def test_rows_have_a_field_for_each_figure_and_run(comparison: Comparison) -> None:
    rows = compare_page.cell_rows(comparison)
    assert {len(row.fields) for row in rows} == {4}
    assert [field.first for field in rows[0].fields] == [True, False, True, False]
    assert [field.best for field in rows[0].fields] == [True, False, False, False]
    assert rows[1].fields[1].title == "crashed: signal 11"


def test_hostile_names_stay_text(comparison: Comparison, hostile: str) -> None:
    runs = [
        dataclasses.replace(run, label=f"{hostile}{index}", detail=hostile, folder=hostile)
        for index, run in enumerate(comparison.runs)
    ]
    html = compare_page.render_compare_page(
        dataclasses.replace(
            comparison,
            runs=runs,
            cells=[dataclasses.replace(comparison.cells[0], cell=hostile)],
            differences=[Difference(hostile, hostile, [hostile, None])],
            notes=[hostile],
        )
    )
    assert "<script>alert" not in html
    # the theme, the specification, the bundle and the charts' script: no other
    assert len(re.findall(r"<script", html)) == 4
    spec = re.search(r'id="spec-latency">(.*?)</script>', html)
    assert spec
    assert json.loads(spec[1])["datasets"]["latencies"][0]["cell"] == hostile


def test_without_a_latency_there_is_no_chart(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_page, "VegaBundle", None)
    cells = [
        dataclasses.replace(cell, figures={"map50_95": cell.figures["map50_95"]})
        for cell in comparison.cells
    ]
    bare = dataclasses.replace(comparison, cells=cells, figures=["map50_95"])
    html = compare_page.render_compare_page(bare)
    assert "No latency to plot." in html
    assert compare_chart(bare) is None
