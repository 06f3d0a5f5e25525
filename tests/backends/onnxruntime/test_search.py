from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import pytest

from deploymark.backends.base import ExportError
from deploymark.backends.onnxruntime import search as ort_search


@dataclasses.dataclass
class Costs:
    """A trial of layers that each leave a share of the agreement when they are in INT8."""

    shares: Mapping[str, float]
    trials: list[tuple[int, int | None]] = dataclasses.field(default_factory=list)

    def __call__(self, floats: Collection[str], batches: int | None) -> float:
        assert set(floats) <= set(self.shares)
        self.trials.append((len(floats), batches))
        return float(np.prod([v for name, v in self.shares.items() if name not in floats]))


def run(costs: Costs, max_drop: float) -> ort_search.Found:
    return ort_search.search(list(costs.shares), costs, max_drop=max_drop, ranking_batches=2)


SHARES = {"a": 0.99, "b": 0.5, "c": 1.0, "d": 0.0, "e": 0.9, "f": 0.97, "g": 1.0}


@pytest.mark.parametrize(
    ("max_drop", "kept"),
    [
        (0.6, ["d"]),
        (0.2, ["d", "b"]),
        (0.05, ["d", "b", "e"]),
        (0.03, ["d", "b", "e", "f"]),
        (0.005, ["d", "b", "e", "f", "a"]),
    ],
)
def test_the_fewest_layers_that_are_enough_stay_in_float(max_drop: float, kept: list[str]) -> None:
    found = run(Costs(SHARES), max_drop)
    assert list(found.kept) == kept
    assert found.before == 0
    assert found.after == pytest.approx(
        np.prod([share for name, share in SHARES.items() if name not in kept])
    )
    assert found.after >= 1 - max_drop


def test_only_the_ranking_looks_at_few_images() -> None:
    costs = Costs(SHARES)
    run(costs, 0.05)
    assert [batches for _, batches in costs.trials if batches] == [2] * len(SHARES)
    assert {count for count, batches in costs.trials if batches} == {len(SHARES) - 1}


def test_a_drop_that_int8_keeps_needs_no_search() -> None:
    costs = Costs({"a": 0.99, "b": 0.98})
    assert run(costs, 0.05) == ort_search.Found((), 0.99 * 0.98, 0.99 * 0.98)
    assert len(costs.trials) == 1


def test_a_layer_that_need_not_be_in_float_is_in_int8() -> None:
    def trial(floats: Collection[str], batches: int | None) -> float:
        """With b in float, rounding a is without effect: what it feeds is rounded no more."""
        if len(floats) == 3:
            return {"a": 0.2, "b": 0.4, "c": 0.9, "d": 1.0}[({*"abcd"} - {*floats}).pop()]
        return 0.9 if "b" in floats and "c" not in floats else 0.99 if "b" in floats else 0.3

    found = ort_search.search("abcd", trial, max_drop=0.05, ranking_batches=1)
    assert set(found.kept) == {"b", "c"}


def test_no_layer_in_int8_is_an_error_with_the_best_that_was_reached() -> None:
    with pytest.raises(
        ExportError, match=r"one layer in INT8 and 1 in float.* 0\.900, not by 0\.9"
    ):
        run(Costs({"a": 0.8, "b": 0.9}), 0.01)


def test_the_note_names_the_layers() -> None:
    found = ort_search.Found(("model.23.cv3.0", "model.0"), 0.912, 0.991)
    assert ort_search.note(found, 63, 64, 0.01) == (
        "kept in float by the search: model.23.cv3.0, model.0 (2 of 63 layers); agreement with "
        "FP32 0.912 -> 0.991 over 64 images, limit 0.990"
    )
    assert ort_search.note(ort_search.Found((), 0.995, 0.995), 63, 64, 0.01) == (
        "no layer kept in float by the search: agreement with FP32 0.995 over 64 images, limit "
        "0.990"
    )
