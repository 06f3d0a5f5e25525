"""Which cells no other cell beats on both latency and accuracy."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point dominates, by rising latency.

    A point is (latency, mAP). One point dominates another where it is no worse in both (lower
    latency, higher mAP) and better in at least one; so equal points do not dominate each other and
    all of them are on the front.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        latency, accuracy = points[index]
        if front:
            best_latency, best_accuracy = points[front[-1]]
            tied = (latency, accuracy) == (best_latency, best_accuracy)
            if accuracy <= best_accuracy and not tied:
                continue
        front.append(index)
    return front
