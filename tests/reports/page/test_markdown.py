from __future__ import annotations

import re

from deploymark.reports.page.markdown import code, escape, fitting, folds, table


def test_escape_leaves_no_markup(hostile: str) -> None:
    text = escape(f"{hostile}\n# heading")
    assert "<" not in text
    assert "\n" not in text
    assert not re.search(r"(?<!\\)[`|*#]", text)
    assert escape("_a_ b_c __init__") == "\\_a\\_ b_c \\_\\_init\\_\\_"
    assert code("a_b|c") == "`a_b\\|c`"
    assert code("a`b") == "a\\`b"


def test_table_aligns_numbers_right() -> None:
    assert table(["a", "n"], [["x", "1"]], numeric=[False, True]) == [
        "| a | n |",
        "| --- | ---: |",
        "| x | 1 |",
    ]


def test_nobody_is_told_and_nothing_is_a_link() -> None:
    text = escape("see https://a.b, www.a.b and mailto:a@b.c, @octocat")
    assert "https&#58;//a.b" in text
    assert "www&#46;a.b" in text
    assert "@&#8288;octocat" in text
    assert "a@&#8288;b.c" in text


def test_the_beginning_of_a_line_is_no_mark() -> None:
    assert escape("- a") == "\\- a"
    assert escape("1. a") == "1\\. a"
    assert escape("---") == "\\---"
    assert escape("12.3 [1, 2]") == "12.3 \\[1, 2\\]"
    assert escape("+0.8") == "+0.8"


def test_a_bar_behind_a_backslash_is_no_code() -> None:
    # "\\|" in code is one bar to some parsers and the end of a cell to others
    assert code("a\\|b") == "a\\\\\\|b"


def test_sections_become_folds() -> None:
    lines = ["", "## A", "", "- one", "", "## B", "text", ""]
    assert folds(lines) == [
        ["", "<details>", "<summary>A</summary>", "", "- one", "", "</details>"],
        ["", "<details>", "<summary>B</summary>", "", "text", "", "</details>"],
    ]


def test_what_does_not_fit_is_named() -> None:
    parts = folds(["## Long", "x" * 100, "## Short", "y"])
    lines = fitting(["top"], parts, 100)
    assert lines[:3] == ["top", "", "<details>"]
    assert "Short" in lines[3]
    assert lines[-1] == "Too long for this page, and in `report.html`: Long."
