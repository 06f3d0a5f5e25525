"""How a figure is written: significant digits, and what stands where there is none."""

from __future__ import annotations

import datetime as dt
import math

ABSENT = "\N{EN DASH}"
"""Stands for a figure that was not measured."""

MIB = float(1 << 20)

DIGITS = 3
"""Significant digits of a figure, and decimals of a score."""

MINUS = "\N{MINUS SIGN}"


def measured(value: float | None) -> float | None:
    """The value where it is a finite number, otherwise None."""
    return value if value is not None and math.isfinite(value) else None


def significant(value: float, digits: int = DIGITS) -> str:
    """``value`` to at least ``digits`` significant digits, never in exponent notation.

    Integer digits are never rounded away: 1234.5 is "1234", 12.345 "12.3", 0.0012345 "0.00123".
    """
    if value == 0:
        return "0"
    # The exponent after rounding: 9.999 is written 10.0, not 10.00.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def signed(value: float, decimals: int) -> str:
    """``+0.8``, or with a minus sign as wide as the plus; what rounds to zero has no sign."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def signed_percent(share: float) -> str:
    """``+12 %`` for 0.12, ``0 %`` for what rounds to it."""
    return f"{signed(100 * share, 0)} %"


def number(value: object) -> float | None:
    """A finite number read from JSON, otherwise None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return measured(float(value))


def plural(count: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def milliseconds(value: float | None) -> str:
    """``12.3 ms``, or the dash."""
    return ABSENT if measured(value) is None else f"{significant(float(value or 0))} ms"


def accuracy(value: float | None) -> str:
    """A mean average precision in [0, 1] with three decimals, or the dash."""
    return ABSENT if measured(value) is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str | None:
    """``[12.1, 12.6]`` in the digits of its ends, None unless both ends were measured.

    Ends that round to the same text at three digits get more, up to six: an interval that reads
    [12.3, 12.3] tells nothing.
    """
    if measured(low) is None or measured(high) is None or low is None or high is None:
        return None
    for digits in range(3, 7):
        ends = significant(low, digits), significant(high, digits)
        if ends[0] != ends[1]:
            break
    return f"[{ends[0]}, {ends[1]}]"


def duration(started: str, finished: str | None) -> str | None:
    """The time between two ISO 8601 moments in words; None where one is missing or unreadable."""
    try:
        begin, end = dt.datetime.fromisoformat(started), dt.datetime.fromisoformat(finished or "")
        seconds = round((end - begin).total_seconds())
    except (ValueError, TypeError):  # TypeError: one moment has a time zone, the other none
        return None
    if seconds < 0:
        return None
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def in_utc(iso: str) -> dt.datetime | None:
    """A moment in ISO 8601 in UTC, which it is taken to be without a zone; None if unreadable."""
    try:
        parsed = dt.datetime.fromisoformat(iso)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is None else parsed.astimezone(dt.UTC)


def moment(iso: str) -> str:
    """``2026-11-23 21:12:52 UTC``; the text itself where it is no ISO 8601."""
    known = in_utc(iso)
    return iso if known is None else f"{known:%Y-%m-%d %H:%M:%S} UTC"
