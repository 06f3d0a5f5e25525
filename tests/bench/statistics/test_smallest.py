from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.statistics.smallest import RESOLUTION, TRIES, smallest

LEAST, MOST = 16, 100_000
LIMITS = st.integers(LEAST, MOST)


@given(threshold=LIMITS, guess=st.integers(1, 2 * MOST))
def test_the_threshold_is_found_to_the_resolution(threshold: int, guess: int) -> None:
    tried: list[int] = []

    def works(limit: int) -> bool:
        tried.append(limit)
        return limit >= threshold

    found = smallest(works, guess, least=LEAST, most=MOST)
    assert found.limit is not None
    assert threshold <= found.limit <= max(threshold + 1, threshold * (1 + 1.05 * RESOLUTION))
    assert tried.count(found.limit) == TRIES
    assert found.launches == len(tried) < 80
    assert all(LEAST <= limit <= MOST for limit in tried)
    if found.fails_at is not None:
        assert found.fails_at < threshold
        assert found.fails_at in tried


@given(threshold=st.integers(MOST + 1, 10 * MOST), guess=LIMITS)
def test_nothing_is_found_where_the_most_does_not_do(threshold: int, guess: int) -> None:
    found = smallest(lambda limit: limit >= threshold, guess, least=LEAST, most=MOST)
    assert (found.limit, found.fails_at) == (None, MOST)


@given(threshold=LIMITS, width=st.floats(0, 0.3), guess=LIMITS, seed=st.integers(0, 1000))
def test_a_limit_that_failed_once_is_never_the_answer(
    threshold: int, width: float, guess: int, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    failed: set[int] = set()
    worked: list[int] = []

    def works(limit: int) -> bool:
        now_and_then = threshold <= limit < threshold * (1 + width)
        if limit < threshold or (now_and_then and chance.random() < 0.5):
            failed.add(limit)
            return False
        worked.append(limit)
        return True

    found = smallest(works, guess, least=LEAST, most=MOST)
    if found.limit is None:
        assert MOST in failed
        return
    assert found.limit not in failed
    assert worked.count(found.limit) >= TRIES
    assert threshold <= found.limit <= threshold * (1 + width) * (1 + RESOLUTION) + 2


def test_what_works_far_below_a_hole_is_found() -> None:
    """An allocator may fail at one size and not at a smaller one."""
    found = smallest(lambda limit: limit >= 100 and limit != 120, 120, least=1, most=1000)
    assert found.limit is not None
    assert 100 <= found.limit <= 102
