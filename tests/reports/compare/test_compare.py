from __future__ import annotations

import dataclasses
import re

import pytest

from deploymark.bench.records.comparison import (
    ComparedCell,
    ComparedRun,
    Comparison,
    Difference,
    Value,
)
from deploymark.reports.compare import compare
from deploymark.reports.page.figures import ABSENT


def test_relations() -> None:
    assert compare.relation(Value(11.0, ratio=1.1, ratio_low=1.05, ratio_high=1.15)) == (
        "1.10× [1.05, 1.15]"
    )
    assert compare.relation(Value(5.0, ratio=0.5)) == "0.500×"
    assert compare.relation(Value(0.37, difference=-0.03)) == "\N{MINUS SIGN}0.030"
    assert compare.relation(Value(0.4, difference=0.0)) == "same"
    assert compare.relation(Value(4.0, ratio=1.0)) == "same"
    assert not compare.relation(Value(4.0))


def test_markdown(comparison: Comparison) -> None:
    text = compare.render_compare_markdown(comparison)
    assert text.startswith("# Deploymark: 2 machines compared\n")
    assert "| `c-fp32` | **10.0** \\[9.90, 10.1\\] | 11.0\\~ (1.10× \\[1.05, 1.15\\]) |" in text
    assert "\\~ a latency of launches that were disturbed." in text
    assert f"| `c-int8` | {ABSENT} | crashed |" in text
    assert "<details><summary>mAP50-95</summary>\n\n| cell |" in text
    assert f"| package: onnxruntime | 1.31.0 | {ABSENT} |" in text
    assert "Artifacts of other bytes: `c-fp32`." in text
    assert "Only in jetson: `c-int8`." in text
    assert "> It describes only." in text
    assert text.count("<details>") == text.count("</details>") == 1


def test_runs_that_are_alike(comparison: Comparison) -> None:
    cell = dataclasses.replace(comparison.cells[0], artifacts=["a", "a"], disturbed=[False, False])
    alike = dataclasses.replace(comparison, cells=[cell], differences=[], several_machines=False)
    text = compare.render_compare_markdown(alike)
    assert text.startswith("# Deploymark: 2 runs compared\n")
    assert "disturbed" not in text
    assert text.endswith("## What differs\n\nNothing that is recorded.\n")


def test_long_settings_are_cut_in_markdown(comparison: Comparison) -> None:
    long = Difference("setting", "overrides", ["x" * 500, None])
    text = compare.render_compare_markdown(dataclasses.replace(comparison, differences=[long]))
    assert "x" * 80 + "…" in text
    assert "x" * 81 not in text


def test_every_row_has_the_columns_of_its_heading(comparison: Comparison, hostile: str) -> None:
    run = ComparedRun(hostile, hostile, hostile, hostile, {"host": hostile}, finished=True)
    cell = dataclasses.replace(comparison.cells[1], cell=f"{hostile}\nsecond")
    text = compare.render_compare_markdown(
        dataclasses.replace(
            comparison,
            runs=[run, run],
            cells=[cell],
            differences=[Difference(hostile, hostile, [hostile, None])],
            notes=[hostile],
        )
    )
    outside = re.sub(r"`[^`]*`", "", text.replace("\\`", ""))
    assert re.findall(r"<(?!/?details|/?summary)", outside) == []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, block


@pytest.mark.parametrize(
    ("index", "text"), [(0, "*10.0 [9.90, 10.1]"), (1, "11.0~ 1.10× [1.05, 1.15]")]
)
def test_texts_of_the_terminal(comparison: Comparison, index: int, text: str) -> None:
    assert compare.terminal_text("latency_p50_ms", comparison.cells[0], index) == text


def test_lines_of_what_differs(comparison: Comparison) -> None:
    assert compare.difference_lines(comparison) == [
        f"package onnxruntime: 1.31.0 | {ABSENT}",
        "artifact of c-fp32: other bytes",
        "c-int8: only in jetson",
    ]


def test_a_cell_of_one_run_alone(comparison: Comparison) -> None:
    cell = ComparedCell("x", ["ok", None], ["a", None], {}, None, [False, False])
    only = dataclasses.replace(comparison, cells=[cell])
    assert compare.alone(only) == [("x", "desk")]
    assert compare.other_artifacts(only) == []
