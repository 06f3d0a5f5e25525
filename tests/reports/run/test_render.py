from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable

import pytest

from deploymark.bench.records.run import CellResult, Run, write_cells, write_run_info
from deploymark.reports.run import render
from tests.reports.parsed_page import Page, loads_nothing

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]
AddVariants = Callable[..., None]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch, quick_bundle: type) -> None:
    monkeypatch.setattr(render, "VegaBundle", quick_bundle)


@pytest.mark.usefixtures("_quick")
def test_report(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> None:
    run = make_run(
        make_cell("a"),
        make_cell("b", precision="fp16", warnings=["not steady"]),
        make_failed("c"),
        make_failed("d", "unsupported", reason="no such thing"),
        make_cell("e", disturbed=True, reason="3 of 3 launches were disturbed: steal"),
        disturbed="1 of 5 cells are marked disturbed: steal",
        notes=["A note."],
        datasets=[{"name": "n", "scored_images": 68, "calibration_source": "validation"}],
        left_out=[{"cell": "x", "reason": "excluded by the matrix"}],
    )
    page = Page(render.render_report(run))
    text = page.text
    loads_nothing(page)
    assert len(page.specs) == 2
    for words in (
        "3 of 5",
        "1 of 5 cells are marked disturbed: steal. Their intervals",
        "ok ~ disturbed",
        "3 of 3 launches were disturbed: steal",
        "bench-01",
        "0123456789ab",
        "the worker ended with signal 11",
        "See its log.",
        "no such thing",
        "excluded by the matrix",
        "not steady",
        "held out of the validation images",
        "A note.",
        "[12.1, 12.6]",
        "onnxruntime",
    ):
        assert words in text
    titles = [attributes.get("title") or "" for attributes in page.all("td")]
    assert any("no RAPL energy counter" in title for title in titles)
    assert len([tr for tr in page.all("tr") if "data-status" in tr]) == 5
    headings = [th for th in page.all("th") if "aria-sort" in th]
    assert {th["data-key"] for th in headings} >= {"latency_p50_ms", "map50_95", "warnings"}


@pytest.mark.usefixtures("_quick")
def test_the_page_forbids_itself_to_load(make_run: MakeRun, make_cell: MakeCell) -> None:
    html = render.render_report(make_run(make_cell()))
    (policy,) = [m for m in Page(html).all("meta") if "http-equiv" in m]
    assert str(policy["content"]).startswith("default-src 'none'")
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL))
    assert styles
    assert "@import" not in styles
    assert "url(" not in styles


@pytest.mark.usefixtures("_quick")
def test_hostile_names_stay_text(
    make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell, hostile: str
) -> None:
    kind = {"model": hostile, "variant": hostile, "backend": hostile, "precision": hostile}
    run = make_run(
        make_cell(hostile, **kind, warnings=[hostile], executed_precision=hostile),
        make_failed(hostile + "2", reason=hostile, remedy=hostile),
        notes=[hostile],
        machine={hostile: hostile, "host": hostile},
        packages={hostile: hostile},
        datasets=[{hostile: hostile}],
        left_out=[{"cell": hostile, "reason": hostile}],
        matrix={hostile: hostile},
        matrix_file=hostile,
        selection=hostile,
    )
    html = render.render_report(run)
    page = Page(html)
    assert "<script>alert" not in html
    # The theme's and the table's scripts, the cells, two specifications, the bundle, the charts'
    # script: and no other.
    assert len(page.scripts) == 7
    assert hostile in page.text
    (row, *_) = page.specs["scatter"]["datasets"]["cells"]
    assert row["cell"] == hostile
    data_rows = [tr for tr in page.all("tr") if "data-backend" in tr]
    assert data_rows[0]["data-backend"] == hostile


@pytest.mark.usefixtures("_quick")
def test_variants_recipes_and_fidelity(
    make_run: MakeRun, make_cell: MakeCell, add_variants: AddVariants
) -> None:
    compared = {"variant": "l1_50", "agreement": 0.9, "agreement_reference": "a"}
    run = make_run(make_cell("a"), make_cell("b", **compared, notes=["A note on it."]))
    add_variants(run)
    html = render.render_report(run)
    page = Page(html)
    text = page.text
    assert "onnxruntime is no faster for it" in text
    assert "Variants: what each one brings" in text
    anchors = [a["href"] for a in page.all("a")]
    order = ["#accuracy", "#variants", "#recipes", "#fidelity", "#matrix"]
    assert [each for each in anchors if each in order] == order
    assert {each["id"] for each in page.all("section")} >= {each[1:] for each in order}
    # Scatter, matrix, effects, and three charts for each of two recipes.
    assert len(page.specs) == 9
    drawn = [figure["data-spec"] for figure in page.all("figure") if "data-spec" in figure]
    assert sorted(str(name) for name in drawn) == sorted(
        str(script["id"])
        for script in page.all("script")
        if str(script.get("id")).startswith("spec-")
    )
    (picture,) = page.all("img")
    assert str(picture["src"]).startswith("data:image/jpeg;base64,")
    (policy,) = [m for m in page.all("meta") if "http-equiv" in m]
    assert str(policy["content"]).endswith("; img-src data:")
    assert "A note on it." in text


@pytest.mark.usefixtures("_quick")
def test_without_labels_fidelity_comes_first(make_run: MakeRun, make_cell: MakeCell) -> None:
    bare = {"map50_95": None, "map50": None}
    compared = bare | {"variant": "l1_50", "agreement": 0.9, "agreement_reference": "a"}
    run = make_run(make_cell("a", **bare), make_cell("b", **compared))
    page = Page(render.render_report(run))
    sections = [each["id"] for each in page.all("section")]
    assert sections[:3] == ["accuracy", "cells", "fidelity"]
    assert sections.count("fidelity") == 1
    assert "the images have no labels" in page.text
    scatter = page.specs["scatter"]
    assert "agreement with the reference" in json.dumps(scatter)
    cells = scatter["datasets"]["cells"]
    assert [(row["cell"], row["map"]) for row in cells] == [("a", 1.0), ("b", 0.9)]


@pytest.mark.usefixtures("_quick")
def test_an_older_run_has_none_of_these_sections(make_run: MakeRun, make_cell: MakeCell) -> None:
    page = Page(render.render_report(make_run(make_cell())))
    sections = {each["id"] for each in page.all("section")}
    assert sections == {"cells", "accuracy", "matrix", "causes", "data", "machine"}


@pytest.mark.usefixtures("_quick")
def test_hostile_recipes_and_images_stay_text(
    make_run: MakeRun, make_cell: MakeCell, add_variants: AddVariants, hostile: str
) -> None:
    compared = {"variant": hostile, "agreement": 0.9, "agreement_reference": hostile}
    run = make_run(make_cell("a"), make_cell("b", **compared, notes=[hostile]))
    add_variants(run, hostile)
    html = render.render_report(run)
    assert "<script>alert" not in html
    page = Page(html)
    # The theme's and the table's scripts, the cells, nine specifications, the bundle, the charts'
    # script: and no other.
    assert len(page.scripts) == 14
    text = page.text
    assert text.count(hostile) > 10
    assert len(page.all("img")) == 1


@pytest.mark.usefixtures("_quick")
def test_no_accuracy_gives_a_sentence_for_the_scatter(
    make_run: MakeRun, make_cell: MakeCell
) -> None:
    page = Page(render.render_report(make_run(make_cell(map50_95=None, map50=None))))
    assert len(page.specs) == 1
    assert "No cell has both a latency and an mAP" in page.text


@pytest.mark.usefixtures("_quick")
def test_no_cell_ok(make_run: MakeRun, make_failed: MakeCell) -> None:
    page = Page(render.render_report(make_run(make_failed("a"), make_failed("b"))))
    assert "0 of 2" in page.text
    assert len(page.specs) == 1


def test_a_run_without_cells_needs_no_bundle(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "VegaBundle", None)
    page = Page(render.render_report(make_run()))
    assert "The run has no cells." in page.text
    assert not page.specs


@pytest.mark.usefixtures("_quick")
def test_write_report(make_run: MakeRun, make_cell: MakeCell) -> None:
    run = make_run(make_cell())
    run.folder.mkdir()
    write_run_info(run.folder, run.info)
    write_cells(run.folder, run.cells)
    path = render.write_report(run.folder)
    assert path == run.folder / "report.html"
    assert path.read_text(encoding="utf-8") == render.render_report(run)
    assert [each.name for each in run.folder.glob("*.partial")] == []


@pytest.mark.heavy
def test_the_libraries_are_inside_once(make_run: MakeRun, make_cell: MakeCell) -> None:
    html = render.render_report(make_run(make_cell()))
    page = Page(html)
    loads_nothing(page)
    assert len(page.scripts) == 7
    packed = [
        text
        for script, text in zip(page.all("script"), page.scripts, strict=True)
        if script.get("id") == "chart-library"
    ]
    (library,) = (gzip.decompress(base64.b64decode(text)).decode() for text in packed)
    assert library.count("window.vegaEmbed=") == 1
