from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.reports.page import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12.345, "12.3"),
        (9.999, "10.0"),
        (0.0012345, "0.00123"),
        (1234.5, "1234"),
        (99.96, "100"),
        (-3.14159, "-3.14"),
        (1e6, "1000000"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert figures.significant(value) == text


@given(st.floats(min_value=1e-6, max_value=1e9), st.integers(min_value=2, max_value=6))
def test_significant_is_within_half_a_unit_of_its_last_digit(value: float, digits: int) -> None:
    text = figures.significant(value, digits)
    assert "e" not in text
    assert math.isclose(float(text), value, rel_tol=0.51 * 10 ** (1 - digits))


def test_interval_shows_more_digits_where_its_ends_would_read_alike() -> None:
    assert figures.interval(12.1, 12.6) == "[12.1, 12.6]"
    assert figures.interval(12.301, 12.304) == "[12.301, 12.304]"
    assert figures.interval(12.0, 12.0) == "[12.0000, 12.0000]"


@pytest.mark.parametrize("ends", [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.inf)])
def test_no_interval_without_both_ends(ends: tuple[float | None, float | None]) -> None:
    assert figures.interval(*ends) is None


def test_what_was_not_measured_is_a_dash() -> None:
    for value in (None, math.nan, math.inf):
        assert figures.milliseconds(value) == figures.ABSENT
        assert figures.accuracy(value) == figures.ABSENT
    assert figures.milliseconds(0.0) == "0 ms"
    assert figures.accuracy(0.39449) == "0.394"


@pytest.mark.parametrize(
    ("started", "finished", "text"),
    [
        ("2026-11-23T18:00:00+00:00", "2026-11-23T18:00:09+00:00", "9 s"),
        ("2026-11-23T18:00:00Z", "2026-11-23T18:03:04Z", "3 min 4 s"),
        ("2026-11-23T18:00:00+00:00", "2026-11-23T22:01:00+02:00", "2 h 1 min"),
        ("2026-11-23T18:00:00+00:00", None, None),
        ("2026-11-23T18:00:00+00:00", "2026-11-23T18:00:00", None),
        ("2026-11-23T18:00:00+00:00", "2026-11-23T17:00:00+00:00", None),
        ("yesterday", "today", None),
    ],
)
def test_duration(started: str, finished: str | None, text: str | None) -> None:
    assert figures.duration(started, finished) == text


def test_moment() -> None:
    assert figures.moment("2026-11-23T20:00:00+02:00") == "2026-11-23 18:00:00 UTC"
    assert figures.moment("yesterday") == "yesterday"


def test_plural() -> None:
    assert figures.plural(1, "cell") == "1 cell"
    assert figures.plural(0, "cell") == "0 cells"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.84, 1, "+0.8"), (-0.84, 1, "\N{MINUS SIGN}0.8"), (0.04, 1, "0.0"), (-0.04, 1, "0.0")],
)
def test_signed(value: float, decimals: int, text: str) -> None:
    assert figures.signed(value, decimals) == text


def test_signed_percent() -> None:
    shares = (0.123, -0.384, 0.004)
    assert [figures.signed_percent(share) for share in shares] == [
        "+12 %",
        "\N{MINUS SIGN}38 %",
        "0 %",
    ]


@pytest.mark.parametrize("value", [None, True, "1", math.nan, math.inf, [1], {}])
def test_what_is_no_number(value: object) -> None:
    assert figures.number(value) is None


def test_numbers_of_json() -> None:
    assert [figures.number(value) for value in (0, 1.5)] == [0.0, 1.5]
