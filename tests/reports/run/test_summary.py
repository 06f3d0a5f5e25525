from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.run import CellResult, Run, write_cells, write_run_info
from deploymark.reports.run.summary import render_summary, write_summary

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def test_summary(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> None:
    run = make_run(
        make_cell("a"),
        make_failed("b"),
        make_failed("c", "unavailable", reason="not installed", remedy="pip install it"),
        notes=["A note."],
        left_out=[{"cell": "d", "reason": "excluded"}],
        datasets=[{"name": "n", "calibration_source": "validation", "calibration_images": 32}],
    )
    text = render_summary(run)
    assert text.startswith("# Deploymark: 1 of 3 cells ok\n")
    assert "A CPU" in text
    assert "| `a` | ok | 12.3 \\[12.1, 12.6\\] |" in text
    assert "p50 \\[95 % CI\\], ms" in text
    assert "energy" not in text  # no cell has one
    assert "**crashed**: the worker ended with signal 11" in text
    assert "Remedy: See its log." in text
    assert "<summary>Not served here</summary>" in text
    assert "Remedy: pip install it" in text
    assert "<summary>Left out of the matrix</summary>" in text
    assert "held out of the validation images" in text
    assert "- A note." in text


def test_the_mark_of_a_disturbed_cell(make_run: MakeRun, make_cell: MakeCell) -> None:
    reason = "4 of 4 launches were disturbed: steal"
    marked = make_cell("b", disturbed=True, reason=reason, remedy="another machine")
    text = render_summary(make_run(make_cell("a"), marked))
    assert text.startswith("# Deploymark: 2 of 2 cells ok\n")
    assert "> 1 of 2 cells are marked disturbed." in text
    assert "| `a` | ok | 12.3" in text
    assert "| `b` | ok \\~ disturbed | 12.3" in text
    assert f"<summary>Disturbed</summary>\n\n- {reason}  \n  1 cell: `b`" in text
    assert "What failed" not in text


def test_every_row_has_the_columns_of_the_heading(
    make_run: MakeRun, make_cell: MakeCell, hostile: str
) -> None:
    run = make_run(make_cell(f"{hostile}\nsecond"), make_cell("a|b"), make_cell("c"))
    tables = re.findall(r"(?:^\|.*\n)+", render_summary(run), re.MULTILINE)
    assert [len(rows.splitlines()) for rows in tables] == [5, 5]  # the front and all cells
    for rows in tables:
        bars = {len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}
        assert len(bars) == 1


def test_a_run_without_cells(make_run: MakeRun) -> None:
    text = render_summary(make_run())
    assert text.startswith("# Deploymark: 0 of 0 cells ok\n")
    assert "|" not in text


def test_write_summary(make_run: MakeRun, make_cell: MakeCell, tmp_path: Path) -> None:
    run = make_run(make_cell())
    run.folder.mkdir()
    write_run_info(run.folder, run.info)
    write_cells(run.folder, run.cells)
    path = write_summary(run.folder)
    assert path == run.folder / "summary.md"
    assert path.read_text(encoding="utf-8") == render_summary(run)
    with pytest.raises(BadInputError, match="not a run directory"):
        write_summary(tmp_path)


def test_what_the_data_sets_consist_of(make_run: MakeRun, make_cell: MakeCell) -> None:
    fault = {"title": "an empty file", "leaves_out": "image", "count": 1, "places": ["b_1_.jpg"]}
    census = {"lines": ["5 images", "left out: 1 × an empty file"], "faults": [fault]}
    text = render_summary(
        make_run(make_cell("a"), datasets=[{"name": "n", "model": "m", "census": census}])
    )
    assert "<summary>Data</summary>\n\n- m: 5 images\n- m: left out: 1 × an empty file\n" in text
    assert "  - 1 × an empty file (leaves out an image): b_1\\_.jpg" in text
