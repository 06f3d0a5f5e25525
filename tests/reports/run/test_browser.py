"""The page in a real browser, where there is one: charts are drawn, sorting and filters work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.run.render import render_report

pytestmark = pytest.mark.heavy

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

# Seen before any script of the page runs.
WATCH = """<script>
window.complaints = [];
addEventListener("error", (event) => complaints.push(String(event.message)));
addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => complaints.push(event.blockedURI));
console.error = console.warn = (...words) => complaints.push(words.join(" "));
</script>"""

ACT = """<script>
setTimeout(() => {
  const first = () => [...document.querySelectorAll("#cell-table tbody tr")]
    .filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
  const press = (key) => document.querySelector(`th[data-key=${key}] button`).click();
  const answer = window.answer = { drawn: document.querySelectorAll(".chart svg.marks").length };
  press("latency_p50_ms"); answer.up = first();
  press("latency_p50_ms"); answer.down = first();
  answer.sort = document.querySelector("th[data-key=latency_p50_ms]").getAttribute("aria-sort");
  press("map50_95"); answer.accurate = first();
  const form = document.querySelector("form.filters");
  form.elements.find.value = "INT8 c";
  form.dispatchEvent(new Event("input"));
  answer.found = [first(), form.querySelector("output").textContent];
  form.elements.find.value = "";
  form.elements.status.value = "crashed";
  form.dispatchEvent(new Event("input"));
  answer.crashed = first();
  const folds = [...document.querySelectorAll("details.plots")].filter((fold) => !fold.open);
  answer.folded = folds.length;
  for (const fold of folds) fold.open = true;
}, 3000);
setTimeout(() => {
  const answer = window.answer;
  answer.unfolded = document.querySelectorAll(".chart svg.marks").length;
  answer.shown = [...document.images].map((image) => image.naturalWidth);
  answer.complaints = complaints;
  answer.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.body.dataset.answer = JSON.stringify(answer);
}, 6000);
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")
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
    page = render_report(run)
    page = page.replace("<title>", WATCH + "<title>", 1)
    head, _, tail = page.rpartition("</body>")
    path = tmp_path / "report.html"
    path.write_text(f"{head}{ACT}</body>{tail}", encoding="utf-8")
    answer = act(path, tmp_path / "profile")
    # The scatter, the matrix, the variants and the warm-up; three charts for each of two recipes
    # when opened.
    assert answer["drawn"] == 4
    assert answer["folded"] == 2
    assert answer["unfolded"] == 10
    assert answer["shown"] == [8]
    assert answer["complaints"] == []
    assert answer["loaded"] == []
    assert answer["up"] == ["nine", "int8-c", "hundred", "int8-crashed"]
    assert answer["down"] == ["hundred", "int8-c", "nine", "int8-crashed"]
    assert answer["sort"] == "descending"
    assert answer["accurate"] == ["hundred", "nine", "int8-c", "int8-crashed"]
    assert answer["found"] == [["int8-c", "int8-crashed"], "2 of 4 cells shown"]
    assert answer["crashed"] == ["int8-crashed"]


def act(path: Path, profile: Path) -> dict[str, Any]:
    """Open the page, let it act, and read what it wrote about itself."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            path.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    found = re.search(r'<body data-answer="([^"]*)"', done.stdout)
    assert found, done.stderr[-500:]
    answer: dict[str, Any] = json.loads(html.unescape(found[1]))
    return answer
