"""The smallest limit that works, by bisection over launches that work or do not."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable

RESOLUTION = 0.02
TRIES = 3

_STEP = 1.25
"""By how much a limit is raised or lowered until the answer is enclosed."""

_CLEARLY_LESS = 0.9
"""The share of the answer that is tried at the end: it is not to work."""


@dataclasses.dataclass(frozen=True)
class Smallest:
    """The answer: ``limit`` is None where none up to the most works.

    ``fails_at`` is the largest limit below it that failed, None where none was tried; ``launches``
    is how many it took.
    """

    limit: int | None
    fails_at: int | None
    launches: int


class _Search:
    def __init__(self, works: Callable[[int], bool], least: int, most: int) -> None:
        self._works, self._least, self._most = works, least, most
        self.worked: Counter[int] = Counter()
        self.failed: set[int] = set()
        self.launches = 0

    def attempt(self, limit: int) -> bool:
        """One launch; a limit that failed once is not tried again."""
        if limit in self.failed:
            return False
        self.launches += 1
        if self._works(limit):
            self.worked[limit] += 1
            return True
        self.failed.add(limit)
        self.worked.pop(limit, None)
        return False

    def bad(self, good: int) -> int:
        """The largest limit below ``good`` that failed; one below the least where none did."""
        return max((limit for limit in self.failed if limit < good), default=self._least - 1)

    def reach(self, limit: int) -> int | None:
        """The nearest limit from ``limit`` upwards that works; None where the most does not."""
        while not self.attempt(limit):
            if limit >= self._most:
                return None
            above = [known for known in self.worked if known > limit]
            limit = min([*above, self._most, max(limit + 1, math.ceil(limit * _STEP))])
        return limit

    def enclose(self, good: int) -> int:
        """Lower a limit that works until one fails, or until it is the least."""
        while self.bad(good) < self._least <= good - 1:
            lower = max(self._least, min(good - 1, math.floor(good / _STEP)))
            if self.attempt(lower):
                good = lower
        return good

    def narrow(self, good: int, resolution: float) -> int:
        """Halve what lies between the limit that works and the next that failed."""
        while good - (bad := self.bad(good)) > max(1.0, resolution * good):
            middle = (good + bad) // 2
            if self.attempt(middle):
                good = middle
        return good


def smallest(
    works: Callable[[int], bool],
    guess: int,
    *,
    least: int,
    most: int,
    resolution: float = RESOLUTION,
    tries: int = TRIES,
) -> Smallest:
    """The smallest whole number in [least, most] that works ``tries`` times out of as many.

    To ``resolution`` (relative, 1 at the finest), where all above a threshold work. Near it a
    launch may work now and then: a limit at which one failed is never the answer. One launch at
    90 % of the answer makes sure that nothing far below works.
    """
    search = _Search(works, least, most)
    start = min(max(guess, least), most)
    while (found := search.reach(start)) is not None:
        good = search.narrow(search.enclose(found), resolution)
        while search.worked[good] < tries and search.attempt(good):
            pass
        if search.worked[good] < tries:
            start = good  # it failed in between: what lies above is next
            continue
        less = math.floor(good * _CLEARLY_LESS)
        if less >= least and search.attempt(less):
            start = less
            continue
        bad = search.bad(good)
        return Smallest(good, bad if bad >= least else None, search.launches)
    return Smallest(None, max(search.failed, default=None), search.launches)
