from __future__ import annotations

import pytest

from deploymark.reports.page.plain_text import all_seen, isolated, seen, shortened


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é漢 12\t\n", "plain é漢 12\t\n"),
        ("a\u202egnp.b", "a\\u202egnp.b"),
        ("\x00\x1b[31m\x7f\x9b", "\\x00\\x1b[31m\\x7f\\x9b"),
        ("\ud800\ufffe\u2028", "\\ud800\\ufffe\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("👩\N{ZERO WIDTH JOINER}🚀", "👩\N{ZERO WIDTH JOINER}🚀"),
    ],
)
def test_what_is_unseen_is_an_escape(text: str, expected: str) -> None:
    assert seen(text) == expected


def test_a_stretch_from_right_to_left_leaves_its_surroundings() -> None:
    assert isolated("Ship אבגד: 12 ms") == "Ship \u2068אבגד\u2069: 12 ms"
    assert isolated("א 12 ב 34") == "\u2068א 12 ב\u2069 34"
    assert isolated("א\nב") == "\u2068א\u2069\n\u2068ב\u2069"
    # what would end an isolate is an escape before any is made
    assert isolated("א\u2069ב") == "\u2068א\u2069\\u2069\u2068ב\u2069"


def test_every_text_of_a_value(hostile: str) -> None:
    value = {"\u202ea": [1, None, ("\x00", {"b": hostile})]}
    assert all_seen(value) == {"\\u202ea": [1, None, ["\\x00", {"b": hostile}]]}


def test_shortened() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("ab cd", 4) == "ab…"
    assert len(shortened("x" * 10_000)) == 300
