from __future__ import annotations

import dataclasses
import json

from deploymark.bench.records.comparison import ComparedCell, Comparison, Value
from deploymark.reports.compare.chart import compare_chart, latency_rows


def test_rows_of_the_chart(comparison: Comparison) -> None:
    rows = latency_rows(comparison)
    assert [(row["cell"], row["run"], row["p50"]) for row in rows] == [
        ("c-fp32", "desk", 10.0),
        ("c-fp32", "jetson", 11.0),
    ]
    assert (rows[0]["low"], rows[0]["high"]) == (9.9, 10.1)
    assert (rows[1]["low"], rows[1]["high"]) == (None, None)


def test_the_axis_is_logarithmic_where_latencies_spread(comparison: Comparison) -> None:
    near = compare_chart(comparison)
    far_cell = ComparedCell(
        "far",
        ["ok", "ok"],
        [None, None],
        {"latency_p50_ms": [Value(100.0), Value(None)]},
        None,
        [False, False],
    )
    far = compare_chart(dataclasses.replace(comparison, cells=[*comparison.cells, far_cell]))
    assert near is not None
    assert far is not None
    assert "type" not in near["layer"][-1]["encoding"]["x"]["scale"]
    assert far["layer"][-1]["encoding"]["x"]["scale"]["type"] == "log"
    assert "://" not in json.dumps([near, far], allow_nan=False)
