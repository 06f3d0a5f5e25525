"""Hostile text in every field of every record: all that is written still parses, nothing runs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from markupsafe import Markup
from playwright.sync_api import Page as BrowserPage

from deploymark.bench.records.answer import Answer, AnswerCell, read_answer, write_answer
from deploymark.bench.records.comparison import (
    KEY_FIGURES,
    LATENCY,
    ComparedCell,
    ComparedRun,
    Comparison,
    Difference,
    Value,
)
from deploymark.bench.records.outcomes import STATUSES
from deploymark.bench.records.run import (
    CellResult,
    Run,
    RunInfo,
    load_run,
    write_cells,
    write_run_info,
    write_variants,
)
from deploymark.bench.records.scenarios import ScenarioResult, write_scenarios
from deploymark.bench.records.trends import (
    Change,
    History,
    MachineHistory,
    PastRun,
    Point,
    Series,
    read_history,
    save_history,
)
from deploymark.bench.records.verdicts import CellVerdict, Check, Gate, Side, write_gate
from deploymark.reports.compare import page as compare_page
from deploymark.reports.compare.compare import render_compare_markdown
from deploymark.reports.gate import report as gate_report
from deploymark.reports.gate.action import write_action_json
from deploymark.reports.gate.junit import render_junit
from deploymark.reports.gate.summary import render_gate_summary
from deploymark.reports.history import history as history_page
from deploymark.reports.page import vega
from deploymark.reports.page.plain_text import seen
from deploymark.reports.run import render
from deploymark.reports.run.summary import render_summary
from deploymark.reports.several import page as several_page
from deploymark.reports.several.columns import RunColumn
from tests.reports.browser import needs_browser, opened
from tests.reports.conftest import QuickBundle
from tests.reports.hostile import LONG, MARKUP, NAMES_A_CELL, NASTY, Text, hostile_record
from tests.reports.parsed_page import Page, loads_nothing

CELLS = [f"{NASTY}{index}" for index in range(len(STATUSES))]
CELLS[3] = f"{LONG}3"

UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\u200e\u200f\u202a-\u202e\u2066\u2067\ud800-\udfff]"
)


def of_cell(index: int) -> Text:
    """Texts of the cell of an index: its id where a field names a cell."""
    return lambda name: CELLS[index] if name in NAMES_A_CELL else LONG if index == 1 else NASTY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run directory of hostile records, read anew."""
    folder = tmp_path_factory.mktemp("runs") / "<b>run|`@octocat"
    folder.mkdir()
    text = of_cell(1)
    measured = {"latency_p50_ms": 2.0, "latency_ci_low_ms": 1.5, "latency_ci_high_ms": 2.5}
    cells = [
        hostile_record(CellResult, of_cell(index), status=status, **measured)
        for index, status in enumerate(STATUSES)
    ]
    info = hostile_record(RunInfo, text, finished=None, datasets=[census()])
    write_run_info(folder, info)
    write_cells(folder, cells)
    stands = [hostile_record(AnswerCell, of_cell(index)) for index in range(len(CELLS))]
    write_answer(folder, hostile_record(Answer, of_cell(0), cells=stands, outcome="undecided"))
    save_history(folder, history())
    write_scenarios(folder, [hostile_record(ScenarioResult, of_cell(0))])
    step = {"step": {"kind": NASTY}, "status": NASTY, "record": {"notes": [NASTY]}}
    write_variants(folder, [{"model": NASTY, "variant": NASTY, "status": NASTY, "steps": [step]}])
    return load_run(folder)


def census() -> dict[str, object]:
    fault = {"title": NASTY, "leaves_out": NASTY, "count": 1, "places": [NASTY, LONG]}
    kinds = {"lines": [NASTY, LONG], "faults": [fault]}
    return {"name": NASTY, "model": LONG, "calibration_source": "validation", "census": kinds}


def history() -> History:
    points = [Point(0, 3.0, 2.9, 3.1), Point(1, 2.0, 1.9, 2.1)]
    change = hostile_record(Change, of_cell(0), run=1)
    series = [
        hostile_record(Series, of_cell(index), figure=LATENCY, points=points, changes=[change])
        for index in range(2)
    ]
    past = [hostile_record(PastRun, of_cell(0)) for _ in points]
    machine = hostile_record(MachineHistory, of_cell(0), runs=past, series=series)
    return hostile_record(History, of_cell(0), machines=[machine])


@pytest.fixture(scope="module")
def gate() -> Gate:
    checks = [
        hostile_record(Check, of_cell(0), figure=LATENCY, verdict=verdict)
        for verdict in ("regressed", "inconclusive", "improved")
    ]
    cells = [
        hostile_record(CellVerdict, of_cell(index), status=status, checks=checks)
        for index, status in enumerate(STATUSES)
    ]
    sides = {name: hostile_record(Side, of_cell(0)) for name in ("baseline", "candidate")}
    unmatched = [{"cell": NASTY, "side": NASTY, "reason": NASTY}]
    return hostile_record(Gate, of_cell(0), cells=cells, unmatched=unmatched, **sides)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    runs = [hostile_record(ComparedRun, of_cell(0), label=f"{NASTY}{n}") for n in range(2)]
    values = [hostile_record(Value, of_cell(0)), Value(reason=NASTY)]
    figures = dict.fromkeys(KEY_FIGURES[:3], values)
    cells = [
        ComparedCell(cell, ["ok", None], ["a", "b"], figures, 0, [True, False]) for cell in CELLS
    ]
    differences = [Difference(kind, NASTY, [LONG, None]) for kind in ("machine", "package")]
    return Comparison(
        runs, list(figures), cells, differences, several_machines=True, notes=[NASTY, LONG]
    )


@pytest.fixture(scope="module")
def pages(run: Run, gate: Gate, compared: Comparison) -> Iterator[dict[str, str]]:
    """Every page that is made of them, all with one bundle, which takes seconds to make."""
    with vega.VegaBundle() as bundle:
        script = bundle.script()

    class Ready(QuickBundle):
        def script(self) -> Markup:
            return script

    with pytest.MonkeyPatch.context() as patch:
        for module in (render, several_page, compare_page, gate_report, history_page):
            patch.setattr(module, "VegaBundle", Ready)
        yield rendered(run, gate, compared)


def rendered(run: Run, gate: Gate, compared: Comparison) -> dict[str, str]:
    columns = [
        RunColumn(f"{NASTY}{number}", run, read_answer(run.folder), LONG) for number in range(2)
    ]
    return {
        "report": render.render_report(run),
        "several": several_page.render_several(columns, compared.differences, of_machines=True),
        "compare": compare_page.render_compare_page(compared),
        "gate": gate_report.render_gate_report(gate),
        "history": history_page.render_history_page(history()),
    }


@pytest.fixture(scope="module")
def markdowns(run: Run, gate: Gate, compared: Comparison) -> dict[str, str]:
    return {
        "summary": render_summary(run),
        "gate": render_gate_summary(gate),
        "compare": render_compare_markdown(compared),
    }


def test_records_come_back_as_they_were(run: Run) -> None:
    assert [cell.cell for cell in run.cells] == CELLS
    assert {run.info.started, run.cells[1].reason} == {LONG}
    answer = read_answer(run.folder)
    assert answer is not None
    assert answer.winner == CELLS[0]
    assert read_history(run.folder) == history()
    json.loads((run.folder / "cells.json").read_text(encoding="utf-8"))


def test_pages_parse_and_no_text_became_an_element(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        page = Page(html)
        loads_nothing(page)
        handlers = {key for _, keys in page.elements for key in keys if key.startswith("on")}
        assert not handlers, name
        assert "default-src 'none'" in html
        assert "alert(1)" in page.text, name
        assert not [text for text in page.scripts if text.lstrip().startswith("alert")], name
        for attributes, text in zip(page.all("script"), page.scripts, strict=True):
            if attributes.get("type") == "application/json":
                json.loads(text)
        told = page.text + "".join(str(v) for _, keys in page.elements for v in keys.values())
        assert not UNSEEN.search(told), (name, ascii(UNSEEN.search(told)))


def tables_of(text: str) -> Iterator[list[str]]:
    for found in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        yield found.splitlines()


def test_markdown_keeps_its_tables_and_has_no_markup_of_others(markdowns: dict[str, str]) -> None:
    parser = MarkdownIt("commonmark").enable("table")
    for name, text in markdowns.items():
        assert not UNSEEN.search(text), name
        tokens = parser.parse(text)
        ours = [
            token.content.strip()
            for token in (*tokens, *(c for token in tokens for c in token.children or ()))
            if token.type in {"html_block", "html_inline"}
        ]
        assert set(re.findall(r"<[^>]*>", " ".join(ours))) <= {
            "<details>",
            "</details>",
            "<summary>",
            "</summary>",
        }, name
        assert not [
            t for token in tokens for t in token.children or () if t.type in {"link_open", "image"}
        ]
        assert not re.search(r"(?<!`)@octocat", re.sub(r"`[^`]*`", "", text)), name
        width, kinds = 0, {"th_open": 0, "td_open": 0}
        for token in tokens:
            if token.type == "tr_open":
                kinds = dict.fromkeys(kinds, 0)
            elif token.type in kinds:
                kinds[token.type] += 1
            elif token.type == "tr_close":
                width = kinds["th_open"] or width
                assert kinds["td_open"] in {0, width}, name
        bars = [
            {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}
            for rows in tables_of(text)
        ]
        assert bars, name
        assert all(len(found) == 1 for found in bars), name
        assert text.count("<details>") == text.count("</details>")


def test_json_of_a_gate_parses(gate: Gate, tmp_path: Path) -> None:
    write_gate(tmp_path, gate)
    entries = json.loads(write_action_json(tmp_path).read_text(encoding="utf-8"))
    names = [entry["name"] for entry in entries]
    assert len(names) == len(set(names)) == len(CELLS)
    assert all(MARKUP in name for name in names)


def test_junit_is_xml_and_names_its_cells(gate: Gate) -> None:
    root = ET.fromstring(render_junit(gate))  # noqa: S314 - ours
    assert len({case.get("classname") for case in root.iter("testcase")}) == len(CELLS) + 1
    assert not UNSEEN.search("".join(root.itertext()))


def downloads_parse(page: BrowserPage) -> None:
    """The table as CSV and as Markdown: a row for each cell, in as many columns as its head has."""
    page.wait_for_function("Boolean(window.deploymarkTable?.csv)")
    rows = "deploymarkTable.found()"
    lines = list(csv.reader(page.evaluate(f"deploymarkTable.csv({rows})").split("\r\n")[:-1]))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert [line[0] for line in lines[1:]] == list(map(seen, CELLS))
    text = page.evaluate(f"deploymarkTable.markdown({rows})")
    bars = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in text.splitlines()}
    assert (len(text.splitlines()), len(bars)) == (len(CELLS) + 2, 1)
    assert "@octocat" not in text
    assert "https:" not in text


@pytest.mark.heavy
@needs_browser
def test_nothing_runs_in_a_browser(pages: dict[str, str], tmp_path: Path) -> None:
    """No dialog, no complaint, no request; nothing unfolded is longer than a reader would read."""
    for name, html in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(html.encode(errors="backslashreplace").decode(), encoding="utf-8")
        with opened(path) as found:
            found.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
            assert not found.complaints, name
            assert not found.requests, name
            assert found.page.evaluate("document.querySelectorAll('main img').length") == 0
            if name == "report":
                downloads_parse(found.page)
            longest = found.page.evaluate(LONGEST_SEEN)
            assert not longest, (name, longest)
            assert found.page.evaluate("document.documentElement.scrollWidth") <= 1400


LONGEST_SEEN = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const box = node.parentElement;
    if (node.data.length < 3000 || /^(SCRIPT|STYLE|PRE)$/.test(box.tagName)) continue;
    if (box.closest("details:not([open]) > :not(summary)") || !box.checkVisibility()) continue;
    if (box.closest("details:not([open])") && !box.closest("summary")) continue;
    const cut = [box, box.closest("td, th")].filter(Boolean).map((one) => getComputedStyle(one));
    if (cut.some((css) => css.textOverflow === "ellipsis" && css.overflow === "hidden")) continue;
    found.push([box.closest("[id]")?.id, box.tagName, box.className, node.data.length].join(" "));
  }
  return found;
}"""
