from __future__ import annotations

import re

from deploymark.reports.page.markdown import code, escape, table


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
