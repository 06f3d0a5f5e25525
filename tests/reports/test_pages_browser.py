"""Every kind of page in a real browser: axe-core, light and dark, widths, print, the switch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.records.comparison import Comparison
from deploymark.bench.records.run import CellResult, Run
from deploymark.bench.records.verdicts import Gate
from deploymark.reports.compare.page import render_compare_page
from deploymark.reports.gate.report import render_gate_report
from deploymark.reports.history.history import render_history_page
from deploymark.reports.run.render import render_report
from tests.reports.browser import WIDTHS, needs_browser, opened
from tests.reports.history.series import changed, history, latency, machine

pytestmark = [pytest.mark.heavy, needs_browser]

SCHEMES = ("light", "dark")

Pages = dict[str, Callable[[], str]]

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def pages(
    make_run: Callable[..., Run],
    make_cell: Callable[..., CellResult],
    make_failed: Callable[..., CellResult],
    make_gate: Callable[..., Gate],
    comparison: Comparison,
    add_variants: Callable[..., None],
) -> Pages:
    """What makes a page of each kind, with all that it can show."""
    run = make_run(
        make_cell("nine", latency_p50_ms=9.0, map50_95=0.30, disturbed=True),
        make_cell("ten", latency_p50_ms=10.0, map50_95=0.31, variant="l1_50", backend="torch"),
        make_failed("crashed", variant="l1_50"),
    )
    add_variants(run)
    past = machine(latency("a", changed()), latency("b", backend="openvino"))
    return {
        "report": lambda: render_report(run),
        "gate": lambda: render_gate_report(make_gate()),
        "compare": lambda: render_compare_page(comparison),
        "history": lambda: render_history_page(history(past)),
    }


def test_nothing_stands_in_a_readers_way(pages: Pages, tmp_path: Path) -> None:
    for name, render in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(render(), encoding="utf-8")
        with opened(path) as found:
            page = found.page
            assert page.locator(".chart svg.marks").count() > 0, name
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                assert found.faults() == [], (name, scheme)
            levels = page.evaluate(
                "[...document.querySelectorAll('h1, h2, h3, h4')].map((head) => +head.tagName[1])"
            )
            steps = zip([0, *levels], levels, strict=False)
            assert all(level <= before + 1 for before, level in steps), (name, levels)
            for width in WIDTHS.values():
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert found.complaints == [], name
            assert found.requests == [], name


def test_the_switch_goes_before_the_systems_scheme(pages: Pages, tmp_path: Path) -> None:
    path = tmp_path / "gate.html"
    path.write_text(pages["gate"](), encoding="utf-8")
    with opened(path) as found:
        page = found.page
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate(BACKGROUND)
        page.select_option("#theme", "light")
        light = page.evaluate(BACKGROUND)
        assert light != dark
        page.emulate_media(color_scheme="light")
        page.select_option("#theme", "dark")
        assert page.evaluate(BACKGROUND) == dark
        page.select_option("#theme", "")
        assert page.evaluate(BACKGROUND) == light
        assert found.complaints == []


def test_printed_pages_are_light_and_without_controls(pages: Pages, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(pages["report"](), encoding="utf-8")
    with opened(path, scheme="dark") as found:
        page = found.page
        printed = page.pdf(prefer_css_page_size=True)
        assert printed.startswith(b"%PDF-")
        assert b"/Image" in printed or len(printed) > 20_000
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
        for control in ("nav", ".filters", ".theme", ".chart-tools"):
            shown = [one.is_visible() for one in page.locator(control).all()]
            assert not any(shown), control
        assert page.locator("#accuracy .chart svg.marks").is_visible()
        assert found.complaints == []
