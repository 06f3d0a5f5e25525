"""Change points of short series: e-divisive with a permutation test, for many series at once.

The statistic is that of E-divisive (Matteson and James 2014, "A Nonparametric Approach for Multiple
Change Point Analysis of Multivariate Data", JASA 109:505, equations 5 and 7, alpha = 1): the energy
distance of the runs before a split and those after it, weighted by their numbers, at its largest
over all splits. Its significance is that of a permutation test of that maximum. As MongoDB found
(Daly et al. 2020, "The Use of Change Point Detection to Identify Software Performance Regressions
in a Continuous Integration System", ICPE) this finds changes in benchmark histories, and as Hunter
and Apache Otava do (Fleming et al. 2023, "Hunter: Using Change Point Detection to Hunt for
Performance Regressions", ICPE) a series is split at a weak level first, so that one change does not
hide another; then each candidate is tested at the strict level between its neighbours, the weakest
is taken out, and the rest is tested again. Hunter tests by Student's t; here it is the permutation
test throughout, which holds its level whatever the distribution, as long as runs are exchangeable.

How one matrix product serves all series: with the values sorted, a sum of distances is a sum over
the gaps between neighbours, each times the pairs that it parts. Those counts depend on the
permutation alone, so series of one length share them.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGNIFICANCE = 0.005
"""Level of a change point. The series of 30 runs in which nothing changed that show one stay below
1 % (``tests/benchmarks/change_points.py``)."""

MIN_SEGMENT = 3
"""Fewest runs between change points: one or two disturbed runs are no change."""

WEAK_FACTOR = 10.0
"""The weak level over the strict one, as in Hunter's ``compute_change_points``."""

_EXCEEDANCES = 10
"""Orders, the series' own among them, that may do as well at a level: 2000 orders for 0.005. Fewer
would leave it to luck, which all series of a length share, whether a change is told."""

_WEAKEST = 0.5
"""The weak level is never above: what more than half of the permutations reach is no candidate."""

_TIE = 1e-5
"""Statistics so near count as equal: a permutation of the same split, in single precision."""

_CHUNK_ELEMENTS = 250_000
"""Counts held at a time: 1 MB, which stays in a processor's cache."""

_SERIES_AT_ONCE = 256

_PASSING_RUNS = (3, 4, 5, 6, 8, 10, 13, 17, 22, 29)
"""Lengths of a change that passed which are searched for: each about 1.3 times the one before, as
one finds its neighbours too. The splits of the whole find what lasted longer."""


@dataclasses.dataclass(frozen=True)
class ChangePoint:
    """A change from run ``index`` on.

    ``before`` and ``after`` are the medians of the runs between it and the neighbouring change
    points, in the unit of the series. ``p_value`` is that of the permutation test between them.
    """

    index: int
    before: float
    after: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class Settings:
    """What counts as a change.

    ``min_change`` is the smallest difference of medians that matters, in the unit of the series.
    """

    significance: float = SIGNIFICANCE
    min_change: float = 0.0
    min_segment: int = MIN_SEGMENT
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.significance < 1:
            raise ValueError("the significance is between 0 and 1")
        if self.min_segment < 2:  # noqa: PLR2004 - the distance within a segment needs a pair
            raise ValueError("a segment has at least 2 runs")

    @property
    def weak(self) -> float:
        """The level at which a split becomes a candidate."""
        return max(self.significance, min(WEAK_FACTOR * self.significance, _WEAKEST))


@dataclasses.dataclass(frozen=True)
class _Split:
    """The best split of a segment: its place in the series, and how often chance does as well."""

    index: int
    end: int
    p_value: float


_Segment = tuple[int, int, int]
"""Number of the series, first run, run after the last."""

_NO_SPLIT = _Split(-1, -1, 1.0)


@dataclasses.dataclass(frozen=True)
class _Splits:
    """The splits to try: the first ``firsts`` runs against those from there up to ``ends``."""

    firsts: NDArray[np.int64]
    ends: NDArray[np.int64]


def _whole_splits(runs: int, settings: Settings) -> _Splits:
    """Every split of a segment into two."""
    firsts = np.arange(settings.min_segment, runs - settings.min_segment + 1)
    return _Splits(firsts, np.full_like(firsts, runs))


def _passing_splits(runs: int, settings: Settings) -> _Splits:
    """Every beginning against what follows it, up to an end of its own (kappa in the paper)."""
    pairs = [
        (first, first + length)
        for first in range(settings.min_segment, runs - settings.min_segment + 1)
        for length in _PASSING_RUNS
        if settings.min_segment <= length <= runs - first
    ]
    return _Splits(*np.array(pairs, dtype=np.int64).T)


def _coefficients(ranks: NDArray[np.int64], splits: _Splits) -> NDArray[np.float32]:
    """The weight of each gap between sorted values in the statistic of each split.

    ``ranks`` (orders, runs) are the ranks of the values in the order that they are split in. The
    result is (orders, splits, runs - 1); the statistic of a split is its product with the gaps.
    """
    runs = ranks.shape[1]
    levels = np.arange(1, runs, dtype=np.int16)
    counts = (ranks.astype(np.int16)[:, :, None] < levels).astype(np.float32)
    for run in range(1, runs):  # a fifth of the time of cumsum along this axis
        counts[:, run] += counts[:, run - 1]
    m = splits.firsts.astype(np.float32)[:, None]
    n = (splits.ends - splits.firsts).astype(np.float32)[:, None]
    weight = m * n / (m + n)
    # Below a gap lie x of the m values before the split and y of the n after it. The gap
    # parts x (n - y) + (m - x) y pairs across, x (m - x) and y (n - y) within: equation 5, written
    # as a polynomial of x and y.
    x = counts[:, splits.firsts - 1]
    y = counts[:, splits.ends - 1]
    y -= x
    result: NDArray[np.float32] = x * (2 * weight / (m * (m - 1)))
    result -= y * (4 * weight / (m * n))
    result += 2 * weight * (1 / m - 1 / (m - 1))
    result *= x
    x = y * (2 * weight / (n * (n - 1)))
    x += 2 * weight * (1 / n - 1 / (n - 1))
    x *= y
    result += x
    return result


def _permutation_chunks(
    runs: int, rows: int, permutations: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """The permutations of so many runs, ``rows`` at a time: the same for every series."""
    generator = np.random.default_rng([seed, runs])
    for first in range(0, permutations, rows):
        some = min(rows, permutations - first)
        yield generator.permuted(np.tile(np.arange(runs), (some, 1)), axis=1)


def _best_splits(
    values: Floats, splits: _Splits, permutations: int, level: float, seed: int
) -> list[_Split]:
    """The best split of each row of ``values`` (series, runs), counted from the row's first run.

    A series leaves the test as soon as its p-value is sure to be above ``level``, which changes no
    decision (Besag and Clifford 1991, "Sequential Monte Carlo p-values").
    """
    count, runs = values.shape
    order = np.argsort(values, axis=1, kind="stable")
    gaps = np.diff(np.take_along_axis(values, order, axis=1), axis=1)
    spread = gaps.sum(axis=1, keepdims=True)
    gaps = (gaps / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    ranks = np.argsort(order, axis=1)
    own = np.stack(
        [_coefficients(ranks[row : row + 1], splits)[0] @ gaps[row] for row in range(count)]
    )
    best, highest = own.argmax(axis=1), own.max(axis=1)
    reached = highest * np.float32(1 - _TIE)
    most = math.floor(level * (permutations + 1) + 1e-9) - 1
    tried = np.zeros(count, dtype=np.int64)
    varied = (spread[:, 0] > 0) & (highest > 0)
    exceeded = np.where(varied, 0, permutations)
    active = np.flatnonzero(varied)
    rows = max(1, _CHUNK_ELEMENTS // (len(splits.firsts) * runs))
    for chunk in _permutation_chunks(runs, rows, permutations, seed):
        if not active.size:
            break
        weights = _coefficients(chunk, splits).reshape(-1, runs - 1).T
        for part in np.array_split(active, -(-active.size // _SERIES_AT_ONCE)):
            chance = (gaps[part] @ weights).reshape(part.size, len(chunk), -1).max(axis=2)
            exceeded[part] += (chance >= reached[part, None]).sum(axis=1)
        tried[active] += len(chunk)
        active = active[exceeded[active] <= most]
    return [
        _Split(int(splits.firsts[at]), int(splits.ends[at]), min(1.0, (above + 1) / (done + 1)))
        for at, above, done in zip(best, exceeded.tolist(), tried.tolist(), strict=True)
    ]


class _Tests:
    """Tests of segments of all series, batched by length, each made once."""

    def __init__(
        self,
        series: Sequence[Floats],
        settings: Settings,
        splits: Callable[[int, Settings], _Splits],
        level: float,
    ) -> None:
        self._series = series
        self._settings = settings
        self._splits = splits
        self._level = level
        # With the series' own order, the level is a whole number of orders.
        self._permutations = round(_EXCEEDANCES / level) - 1
        self._known: dict[_Segment, _Split] = {}

    def of(self, segments: Sequence[_Segment]) -> list[_Split]:
        """The best split of each segment, its index and end counted from the series' first run."""
        waiting: dict[int, list[_Segment]] = defaultdict(list)
        for segment in dict.fromkeys(segments):
            if segment not in self._known:
                waiting[segment[2] - segment[1]].append(segment)
        for runs, alike in waiting.items():
            if runs < 2 * self._settings.min_segment:
                self._known.update(dict.fromkeys(alike, _NO_SPLIT))
                continue
            values = np.stack([self._series[n][start:stop] for n, start, stop in alike])
            splits = self._splits(runs, self._settings)
            seed = self._settings.seed
            found = _best_splits(values, splits, self._permutations, self._level, seed)
            for segment, split in zip(alike, found, strict=True):
                start = segment[1]
                self._known[segment] = _Split(start + split.index, start + split.end, split.p_value)
        return [self._known[segment] for segment in segments]

    def passed(self, segments: Iterable[_Segment]) -> dict[_Segment, _Split]:
        """The best splits of those segments where it is significant."""
        asked = list(segments)
        splits = zip(asked, self.of(asked), strict=True)
        return {segment: split for segment, split in splits if split.p_value <= self._level}


def _candidates(series: Sequence[Floats], settings: Settings) -> list[list[int]]:
    """Split every series, and the parts, while a split passes the weak level.

    A change that passed has two ends to choose, so it must pass the strict one: what is tested
    between two chosen ends afterwards is chosen already.
    """
    whole = _Tests(series, settings, _whole_splits, settings.weak)
    maybe = _Tests(series, settings, _passing_splits, settings.weak)
    passing = _Tests(series, settings, _passing_splits, settings.significance)
    cuts: list[set[int]] = [set() for _ in series]
    waiting = [(number, 0, len(values)) for number, values in enumerate(series)]
    while waiting:
        found = whole.passed(waiting)
        found |= passing.passed(maybe.passed([one for one in waiting if one not in found]))
        waiting = []
        for (number, start, stop), split in found.items():
            inner = {split.index, split.end} - {stop}
            cuts[number] |= inner
            waiting += [(number, a, b) for a, b in pairwise([start, *sorted(inner), stop])]
    return [sorted(some) for some in cuts]


def _described(values: Floats, cuts: Sequence[int], splits: Sequence[_Split]) -> list[ChangePoint]:
    ends = [0, *cuts, len(values)]
    medians = [float(np.median(values[a:b])) for a, b in pairwise(ends)]
    return [
        ChangePoint(cut, before, after, split.p_value)
        for cut, split, (before, after) in zip(cuts, splits, pairwise(medians), strict=True)
    ]


def _settled(
    values: Floats, cuts: list[int], splits: Sequence[_Split], settings: Settings
) -> list[ChangePoint] | None:
    """The change points where all cuts are some; else None, and one of ``cuts`` moved or removed.

    ``splits`` are the best ones between the neighbours of each cut.
    """
    for place, split in enumerate(splits):
        # A neighbour was taken out, and the change lay there.
        if split.index != cuts[place] and split.p_value <= settings.weak:
            cuts[place] = split.index
            return None
    found = _described(values, cuts, splits)
    insignificant = [point for point in found if point.p_value > settings.significance]
    small = [point for point in found if abs(point.after - point.before) < settings.min_change]
    if insignificant:
        weakest = max(insignificant, key=lambda point: point.p_value)
    elif small:
        weakest = min(small, key=lambda point: abs(point.after - point.before))
    else:
        return found
    cuts.remove(weakest.index)
    return None


def change_points(
    series: Sequence[Sequence[float]], settings: Settings | None = None
) -> list[list[ChangePoint]]:
    """The change points of each series, in order.

    Values are finite and on a scale where differences count: logarithms of latencies. A series is
    judged alone: the others, and their order, do not alter what is found in it. The same seed finds
    the same. Raises ValueError for values that are not finite.
    """
    settings = settings or Settings()
    arrays = [np.asarray(values, dtype=np.float64) for values in series]
    if not all(np.isfinite(values).all() for values in arrays):
        raise ValueError("a series holds a value that is not finite")
    cuts = _candidates(arrays, settings)
    tests = _Tests(arrays, settings, _whole_splits, settings.significance)
    found: list[list[ChangePoint]] = [[] for _ in arrays]
    unsettled = [number for number, some in enumerate(cuts) if some]
    while unsettled:
        windows = {}
        for number in unsettled:
            ends = [0, *cuts[number], len(arrays[number])]
            windows[number] = [(number, a, b) for a, b in zip(ends, ends[2:], strict=False)]
        tests.of([window for some in windows.values() for window in some])  # of all in one go
        remaining = []
        for number, some in windows.items():
            points = _settled(arrays[number], cuts[number], tests.of(some), settings)
            if points is not None:
                found[number] = points
            elif cuts[number]:
                remaining.append(number)
        unsettled = remaining
    return found
