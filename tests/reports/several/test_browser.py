"""The page of several runs in a real browser, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.records.comparison import Difference
from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.several.columns import RunColumn
from deploymark.reports.several.page import render_several
from tests.reports.browser import WIDTHS, needs_browser, opened


@pytest.mark.heavy
@needs_browser
def test_page(
    make_run: Callable[..., Run],
    make_cell: Callable[..., CellResult],
    make_failed: Callable[..., CellResult],
    tmp_path: Path,
) -> None:
    columns = [
        RunColumn(
            host,
            make_run(
                make_cell("a", latency_p50_ms=p50, map50_95=p50 / 100), make_failed("b"), cells
            ),
        )
        for host, p50, cells in (
            ("desk", 5.0, make_cell("c")),
            ("a-board-with-a-long-name", 50.0, make_cell("d")),
        )
    ]
    path = tmp_path / "several.html"
    differences = [Difference("machine", "cpu", ["A CPU", "Another"])]
    path.write_text(render_several(columns, differences, of_machines=True), encoding="utf-8")
    with opened(path, scheme="dark") as found:
        page = found.page
        assert not found.complaints
        assert not found.requests
        assert page.locator(".chart svg.marks").count() == 1
        assert page.locator("details.differs[open] td").all_inner_texts() == ["A CPU", "Another"]
        assert page.locator("td.best").count() == 4
        assert not found.faults()
        for width in WIDTHS.values():
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
