from __future__ import annotations

import pytest

from deploymark.bench.matrix.steps import Training
from deploymark.bench.variants.schedules import learning_rate

STEPS_PER_EPOCH = 20


def rates(settings: Training) -> list[float]:
    steps = settings.epochs * STEPS_PER_EPOCH
    return [learning_rate(settings, step, steps, STEPS_PER_EPOCH) for step in range(steps)]


def test_rises_to_the_highest_and_falls_to_the_last() -> None:
    settings = Training(epochs=3, lr0=0.01, lrf=0.1, warmup_epochs=0.5)
    found = rates(settings)
    peak = 10
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] == pytest.approx(0.01 / 11)
    assert max(found) == found[peak] == pytest.approx(0.01)
    assert found[-1] == pytest.approx(0.001)


def test_without_warm_up_it_starts_at_the_highest() -> None:
    settings = Training(epochs=1, lr0=0.01, lrf=0.1, warmup_epochs=0)
    assert rates(settings)[0] == pytest.approx(0.01)


def test_a_warm_up_longer_than_the_training_ends_with_it() -> None:
    settings = Training(epochs=1, lr0=0.01, warmup_epochs=5)
    found = rates(settings)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.01)
    assert learning_rate(settings, 0, 1, 1) == pytest.approx(0.01)
