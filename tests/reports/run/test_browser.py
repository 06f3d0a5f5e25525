"""The report in a real browser, where there is one: charts are drawn, sorting and filters work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.run.render import render_report
from tests.reports.browser import needs_browser, opened

FIRST = """[...document.querySelectorAll("#cell-table tbody tr")]
    .filter((row) => !row.hidden).map((row) => row.dataset.cell || row.cells[0].textContent)"""


@pytest.mark.heavy
@needs_browser
def test_page(
    make_run: Callable[..., Run],
    make_cell: Callable[..., CellResult],
    make_failed: Callable[..., CellResult],
    add_variants: Callable[..., None],
    hostile: str,
    tmp_path: Path,
) -> None:
    compared = {"agreement": 0.9, "agreement_reference": "nine"}
    run = make_run(
        make_cell("nine", latency_p50_ms=9.0, map50_95=0.30, warmup_iterations=2.0),
        make_failed("int8-crashed", variant=hostile),
        make_cell("hundred", latency_p50_ms=100.0, map50_95=0.31, variant=hostile),
        make_cell("int8-c", latency_p50_ms=12.0, map50_95=0.29, variant=hostile, **compared),
    )
    add_variants(run, hostile)
    launch = {
        "cell": "nine",
        "status": "ok",
        "cold_ms": 30.0,
        "warmup": {"iterations": 2, "first_ns": [12_000_000, 9_500_000]},
        "latency_ns": [9_000_000] * 5,
    }
    (run.folder / "launches.jsonl").write_text(json.dumps(launch) + "\n", encoding="utf-8")
    path = tmp_path / "report.html"
    path.write_text(render_report(run), encoding="utf-8")
    with opened(path) as found:
        page = found.page
        # The scatter, the matrix, the variants and the warm-up; three charts for each of two
        # recipes when opened.
        marks = page.locator(".chart svg.marks")
        assert marks.count() == 4
        sort = {
            key: page.locator(f"th[data-key={key}] button")
            for key in ("latency_p50_ms", "map50_95")
        }
        sort["latency_p50_ms"].click()
        assert page.evaluate(FIRST) == ["nine", "int8-c", "hundred", "int8-crashed"]
        sort["latency_p50_ms"].click()
        assert page.evaluate(FIRST) == ["hundred", "int8-c", "nine", "int8-crashed"]
        head = page.locator("th[data-key=latency_p50_ms]")
        assert head.get_attribute("aria-sort") == "descending"
        sort["map50_95"].click()
        assert page.evaluate(FIRST) == ["hundred", "nine", "int8-c", "int8-crashed"]
        page.fill("form.filters [name=find]", "INT8 c")
        page.wait_for_function(f"({FIRST}).length === 2")
        assert page.evaluate(FIRST) == ["int8-c", "int8-crashed"]
        assert page.locator("form.filters output").inner_text() == "2 of 4 cells shown"
        page.fill("form.filters [name=find]", "")
        page.select_option("form.filters [name=status]", "crashed")
        page.wait_for_function(f"({FIRST}).length === 1")
        assert page.evaluate(FIRST) == ["int8-crashed"]
        for fold in page.locator("details.plots > summary").all():
            fold.click()
        page.wait_for_function("document.querySelectorAll('.chart svg.marks').length === 10")
        widths = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert widths == [8]
        assert found.complaints == []
        assert found.requests == []
