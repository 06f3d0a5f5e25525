"""The table of cells and the pages of cells, as one uses them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.run import render
from tests.reports.browser import WIDTHS, needs_browser, opened

pytestmark = [pytest.mark.heavy, needs_browser]

CELLS = "#cell-table tbody tr"


def rows(page: Page) -> list[str]:
    return page.locator(f"{CELLS} th a").all_text_contents()


def saved(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.click(f"button[data-save={kind}]")
    return Path(download.value.path()).read_bytes().decode()


@pytest.fixture
def report(
    make_run: Callable[..., Run],
    make_cell: Callable[..., CellResult],
    make_failed: Callable[..., CellResult],
) -> Path:
    run = make_run(
        make_cell("nine", latency_p50_ms=9.0),
        make_cell("=1+1", latency_p50_ms=100.0, backend="openvino", executed_precision="@x|y,*z*"),
        make_cell("hundred, or so", latency_p50_ms=12.0, precision="int8", map50_95=0.36),
        make_failed("int8-crashed", reason="signal 11", remedy="See the log."),
    )
    launch = {
        "cell": "nine",
        "launch": 0,
        "attempt": 0,
        "status": "ok",
        "latency_ns": [8_000_000, 9_000_000, 10_000_000],
        "conditions": {"temperature_c": 61.5},
        "cold_ms": 30.0,
        "warmup": {"iterations": 2, "first_ns": [12_000_000, 9_500_000]},
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "launches.jsonl").write_text(json.dumps(launch) + "\n", encoding="utf-8")
    path = run.folder / "report.html"
    path.write_text(render.render_report(run), encoding="utf-8")
    return path


def test_the_table(report: Path) -> None:
    fragment = "#sort=latency_p50_ms&order=descending&status=ok"
    with opened(report, width=WIDTHS["laptop"], fragment=fragment) as found:
        page = found.page
        page.wait_for_selector(CELLS)
        # A deep link is restored, with its fields.
        assert rows(page) == ["=1+1", "hundred, or so", "nine"]
        assert (
            page.locator("th[data-key=latency_p50_ms]").get_attribute("aria-sort") == "descending"
        )
        assert page.locator("select[name=status]").input_value() == "ok"
        # Nothing of what decides is beyond the edge.
        box = "document.querySelector('#cell-table').closest('.scroll')"
        assert page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
        page.select_option("select[name=backend]", "openvino")
        assert rows(page) == ["=1+1"]
        assert "backend=openvino" in page.url
        page.go_back()
        page.wait_for_function(f"document.querySelectorAll('{CELLS}').length === 3")
        page.fill("input[name=find]", "SO hund")
        assert rows(page) == ["hundred, or so"]
        page.click("button[type=reset]")
        assert len(rows(page)) == 4
        page.click("details.columns summary")
        page.check(".column-groups input[value=executed_precision]")
        assert page.locator("th[data-key=executed_precision]").count() == 1
        assert "executed_precision" in page.url

        lines = list(csv.reader(io.StringIO(saved(page, "csv"))))
        assert [line[0] for line in lines] == [
            "cell",
            "nine",
            "'=1+1",
            "hundred, or so",
            "int8-crashed",
        ]
        by_title = dict(zip(lines[0], lines[1], strict=True))
        assert (by_title["p50 [95 % CI], ms"], by_title["p50 [95 % CI]: beside"]) == (
            "9",
            "[12.1, 12.6]",
        )
        assert dict(zip(lines[0], lines[3], strict=True))["mAP loss"] == "0.0341"
        assert "'@x|y,*z*" in lines[2]
        markdown = saved(page, "md").splitlines()
        assert len(markdown) == 6
        assert markdown[1].startswith("| --- | --- | ---: |")
        assert "x\\|y,\\*z\\*" in markdown[3]

        detail = "{detail: {winner: 'nine', leader: 'nine', limits: []}}"
        page.evaluate(f"document.dispatchEvent(new CustomEvent('deploymark:question', {detail}))")
        assert page.locator("tr.answer").inner_text().startswith("nine the answer")
        assert found.complaints == []
        assert found.requests == []


def test_the_page_of_a_cell(report: Path) -> None:
    with opened(report, fragment="#cell=int8-crashed") as found:
        page = found.page
        page.wait_for_selector("#cell-page[open]")
        told = page.inner_text("#cell-page")
        assert "signal 11" in told
        assert "See the log." in told
        page.keyboard.press("Escape")
        page.wait_for_selector("#cell-page:not([open])", state="attached")
        assert "cell=" not in page.url

        page.evaluate(
            """const given = (cell) => document.createTextNode(`given ${cell}`);
               deploymarkCellParts.push((cell, place) => place.append(`part of ${cell}`), given);
               navigator.clipboard.writeText = async () => { throw new Error("no clipboard"); };
               document.execCommand = () => { window.copied = document.activeElement.value; };"""
        )
        page.click(f"{CELLS} >> text=nine")
        page.wait_for_selector("#cell-page[open]")
        assert page.evaluate("document.activeElement.id") == "cell-page-title"
        told = page.inner_text("#cell-page")
        for words in (
            "deploymark run matrices/smoke.yaml -k nine",
            "61.5",
            "part of nine",
            "given nine",
        ):
            assert words in told
        assert page.locator("#cell-page svg.strip").count() == 1
        page.click("#cell-page >> text=Copy tab-separated")
        page.wait_for_function("window.copied")
        heads, values = (
            line.split("\t") for line in page.evaluate("copied").rstrip("\n").split("\n")
        )
        assert dict(zip(heads, values, strict=True))["cell"] == "nine"
        assert found.faults() == []
        page.go_back()
        page.wait_for_selector("#cell-page:not([open])", state="attached")
        assert page.evaluate("document.activeElement.textContent") == "nine"
        assert found.complaints == []
