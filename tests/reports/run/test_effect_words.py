from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deploymark.bench.records.run import CellResult
from deploymark.reports.run.effect_words import sentence
from deploymark.reports.run.effectiveness import effects_of

MakeCell = Callable[..., CellResult]


@pytest.fixture
def said(make_cell: MakeCell) -> Callable[..., str]:
    """The sentence of a variant whose cells, one a backend, differ from dense as told."""

    def of(*cells: dict[str, Any], with_model: bool = False) -> str:
        run = []
        for index, values in enumerate(cells):
            place = {"backend": f"b{index}"}
            known = {"params": 100, "macs": 100, "artifact_gzip_bytes": 100, "map50_95": 0.7}
            speed = values.pop("speed", 1.0)
            run += [
                make_cell(f"d{index}", **place, **known, **latency(10.0)),
                make_cell(
                    f"v{index}", variant="v", **place, **(known | latency(10.0 / speed) | values)
                ),
            ]
        (group,) = effects_of(run)
        return sentence(group, with_model=with_model)

    return of


def latency(p50: float) -> dict[str, float]:
    return {
        "latency_p50_ms": p50,
        "latency_ci_low_ms": p50 * 0.99,
        "latency_ci_high_ms": p50 * 1.01,
    }


def test_half_of_the_weights_and_no_backend_faster(said: Callable[..., str]) -> None:
    sparse = {"nonzero_fraction": 0.502, "artifact_gzip_bytes": 62, "map50_95": 0.692}
    assert said(dict(sparse), sparse | {"map50_95": 0.696}) == (
        "v: half of the weights are zero; no backend is faster for it; gzip 38 % smaller; "
        "mAP50-95 −0.8 to −0.4 points."  # noqa: RUF001 - the minus sign
    )


def test_one_backend_is_named(said: Callable[..., str]) -> None:
    assert "; b0 is no faster for it;" in said({"nonzero_fraction": 0.3})
    assert said({"nonzero_fraction": 0.3}).startswith("v: 70 % of the weights are zero;")


def test_faster_here_and_not_there(said: Callable[..., str]) -> None:
    text = said(
        {"speed": 1.5, "macs": 60, "params": 64}, {"macs": 60, "params": 64}, {"speed": 0.8}
    )
    assert "MACs 0 to 40 % lower" not in text  # one of them has all its MACs
    assert (
        "faster in b0 fp32 (1.50×), no faster in b1 fp32 (1.00×), slower in b2 fp32 (0.80×)" in text
    )


def test_many_cells_are_counted(said: Callable[..., str]) -> None:
    fast = [{"speed": 1.2 + index / 10, "macs": 60, "params": 64} for index in range(5)]
    text = said(*map(dict, fast))
    assert "MACs 40 % lower; 36 % fewer parameters; faster in all 5 cells (1.20× to 1.60×)" in text
    assert "faster in 5 of 6 cells (1.20× to 1.60×), no faster in b5" in said(*map(dict, fast), {})


def test_nothing_changed(said: Callable[..., str]) -> None:
    assert said({}) == (
        "v: as many weights and MACs as dense; b0 is no faster for it; gzip no smaller; "
        "mAP50-95 0.0 points."
    )


def test_larger_and_mixed_sizes(said: Callable[..., str]) -> None:
    assert "gzip 12 % larger" in said({"artifact_gzip_bytes": 112})
    mixed = said({"artifact_gzip_bytes": 90}, {"artifact_gzip_bytes": 105})
    assert "gzip −10 % to +5 %" in mixed  # noqa: RUF001 - the minus sign


def test_single_launches_make_no_verdict(said: Callable[..., str]) -> None:
    text = said({"speed": 2.0, "latency_ci_low_ms": None})
    assert "no verdict by a single launch in b0 fp32 (2.00×)" in text


def test_without_labels_agreement_is_told(said: Callable[..., str]) -> None:
    assert said({"map50_95": None, "agreement": 0.9312}).endswith("; agreement 0.931.")


def test_the_model_is_named_where_asked(said: Callable[..., str]) -> None:
    assert said({}, with_model=True).startswith("m v: ")


def test_no_dense_cell(make_cell: MakeCell) -> None:
    (group,) = effects_of([make_cell("v", variant="v", map50_95=None)])
    assert sentence(group) == (
        "v: as many weights and MACs as dense; no dense cell to compare its speed with."
    )


def test_the_precision_that_qat_compares_with_is_named(make_cell: MakeCell) -> None:
    cells = [
        make_cell("d", precision="int8", macs=10, params=10),
        make_cell("q", variant="q", precision="int8-qat", macs=10, params=10, map50_95=0.3961),
    ]
    (group,) = effects_of(cells)
    assert sentence(group) == (
        "q, beside dense int8: as many weights and MACs as dense; "
        "onnxruntime is no faster for it; mAP50-95 +0.2 points."
    )
