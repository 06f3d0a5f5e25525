"""The question in the page: sliders move, and the answer, the table and the scatter follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.choose.choices import choices_of
from deploymark.bench.choose.choose import answer
from deploymark.bench.choose.of_run import keep
from deploymark.bench.choose.question import make_question
from deploymark.bench.choose.table import RunTable
from deploymark.bench.records.choices import CHOICES_FILE, read_choices, write_choices
from deploymark.bench.records.run import CellResult, Run
from tests.reports.browser import needs_browser, opened

pytestmark = [pytest.mark.heavy, needs_browser]

MakeRun = Callable[..., Run]
MakeCell = Callable[..., CellResult]


@pytest.fixture
def run(make_run: MakeRun, make_cell: MakeCell, tmp_path: Path) -> Run:
    """A fast, large cell and a slow, small one; both told apart by their launches."""
    cells = {"fast": (5.0, 9e6), "slow": (9.0, 2e6), "fp32": (20.0, 9e6)}
    found = make_run(
        *(
            make_cell(
                name,
                precision="fp32" if name == "fp32" else "int8",
                latency_p50_ms=ms,
                latency_ci_low_ms=0.99 * ms,
                latency_ci_high_ms=1.01 * ms,
                artifact_bytes=int(size),
                map50_95=0.4,
            )
            for name, (ms, size) in cells.items()
        )
    )
    found.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "cell": name,
            "launch": launch,
            "status": "ok",
            "latency_ns": [ms * 1e6 * (1 + launch / 500)] * 5,
            "e2e_ns": [],
            "peak_rss_bytes": 200 << 20,
            "cold_ms": 40.0,
            "load_ms": 55.5,
            "warmup": {},
        }
        for launch in range(4)
        for name, (ms, _) in cells.items()
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (found.folder / "launches.jsonl").write_text(text, encoding="utf-8")
    table = RunTable(found)
    question = make_question(found.cells, [], minimize="latency_p50_ms")
    keep(found.folder, table, answer(table, question))
    return found


def render(run: Run) -> Path:
    from deploymark.reports.run.render import render_report

    page = run.folder / "report.html"
    page.write_text(render_report(run), encoding="utf-8")
    return page


def test_the_answer_follows_the_sliders(run: Run) -> None:
    path = render(run)
    with opened(path) as found:
        page = found.page
        verdict = page.locator("#verdict")
        assert verdict.text_content() == (
            "Ship fast: latency p50 5.00 ms [4.95, 5.05], the best of 3 of 3 cells."
        )
        page.click("#add-limit")
        figure = page.locator("#limits li select").first
        figure.select_option("artifact_bytes")
        page.locator("#limits li input[type=number]").fill("3")
        page.wait_for_function(
            "document.getElementById('verdict').textContent.startsWith('Ship slow:')"
        )
        assert "the best of 1 of 3 cells that meet what was asked" in str(verdict.text_content())
        assert page.locator("#cell-table tr", has_text="the answer").count() == 1
        assert "artifact_bytes <= 3145730" in str(page.text_content("#ask-command"))
        ringed = "document.querySelector('figure[data-spec=spec-scatter]').view.data('chosen')"
        page.wait_for_function(f"({ringed}[0] || {{}}).cell === 'slow'")
        asked = page.evaluate("location.hash")
        slider = page.locator("#limits li input[type=range]")
        slider.focus()
        page.keyboard.press("End")
        page.wait_for_function(
            "document.getElementById('verdict').textContent.startsWith('Ship fast:')"
        )
        page.locator("#question select[name=objective]").select_option("smallest artifact_bytes")
        page.wait_for_function(
            "document.getElementById('verdict').textContent.startsWith('Ship slow:')"
        )
        page.click("#question button[type=reset]")
        page.wait_for_function("!location.hash.includes('q=')")
        assert "Ship fast:" in str(verdict.text_content())
        assert found.complaints == []
        assert found.requests == []
        assert found.faults() == []
    with opened(path, fragment=asked) as found:
        assert str(found.page.text_content("#verdict")).startswith("Ship slow:")
    with opened(path, fragment="#q=%5B%22none%22%5D") as found:
        assert str(found.page.text_content("#verdict")).startswith("Ship fast:")
        assert found.complaints == []


def test_what_is_no_record_of_choices_is_told(run: Run) -> None:
    from deploymark.bench.errors import BadInputError

    for text in ("{", "[]", '{"schema_version": 1}', "null"):
        (run.folder / CHOICES_FILE).write_text(text)
        with pytest.raises(BadInputError, match=r"choices\.json cannot be read"):
            read_choices(run.folder)
    table = RunTable(run)
    choices = choices_of(table, make_question(run.cells, None))
    write_choices(run.folder, choices)
    assert read_choices(run.folder) == choices
