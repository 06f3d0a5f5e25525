from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.schedule import remaining, schedule

CELLS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 5), max_size=8)


@given(CELLS, st.integers(0, 1000))
def test_every_launch_comes_once_and_in_rounds(launches: dict[str, int], seed: int) -> None:
    slots = schedule(launches, seed)
    assert Counter(slot.cell for slot in slots) == Counter(launches)
    assert [slot.launch for slot in slots] == sorted(slot.launch for slot in slots)
    assert len(set(slots)) == len(slots)


@given(CELLS, st.integers(0, 1000))
def test_the_order_is_the_seeds_alone(launches: dict[str, int], seed: int) -> None:
    turned = dict(reversed(launches.items()))
    assert schedule(launches, seed) == schedule(turned, seed)


def test_rounds_differ_and_seeds_differ() -> None:
    launches = dict.fromkeys("abcdefgh", 2)
    slots = schedule(launches, 0)
    first, second = slots[:8], slots[8:]
    assert [slot.cell for slot in first] != [slot.cell for slot in second]
    assert slots != schedule(launches, 1)


def test_what_is_done_or_failed_is_not_launched_again() -> None:
    slots = schedule({"a": 2, "b": 2}, 0)
    left = remaining(slots, {("a", 0)}, {"b"})
    assert [(slot.cell, slot.launch) for slot in left] == [("a", 1)]
