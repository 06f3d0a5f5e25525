from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploymark.reports.run.pareto import pareto_front

Point = tuple[float, float]

# Few distinct values, so that ties are common.
POINTS = st.lists(
    st.tuples(st.integers(1, 6).map(float), st.integers(0, 6).map(lambda n: n / 6)), max_size=25
)


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(POINTS)
def test_the_front_is_exactly_what_nothing_dominates(points: list[Point]) -> None:
    front = pareto_front(points)
    assert len(front) == len(set(front))
    for index, point in enumerate(points):
        dominated = any(dominates(other, point) for other in points)
        assert (index in front) == (not dominated)


@given(POINTS)
def test_the_front_rises_with_latency(points: list[Point]) -> None:
    front = [points[index] for index in pareto_front(points)]
    assert front == sorted(front)


def test_equal_points_are_all_on_the_front() -> None:
    assert sorted(pareto_front([(1.0, 0.5), (1.0, 0.5), (1.0, 0.4), (2.0, 0.5)])) == [0, 1]


def test_no_points_make_no_front() -> None:
    assert pareto_front([]) == []
