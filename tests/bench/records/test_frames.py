from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import deploymark
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.run import CellResult, Run, cell_row, load_run
from deploymark.bench.run.run_folder import SampleRow, write_samples
from tests.run_series import CELL, run_maker


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = run_maker(tmp_path)(0)
    launches = [
        {
            "cell": CELL,
            "launch": launch,
            "status": "ok",
            "latency_ns": [1_000_000, 2_000_000, 6_000_000],
            "e2e_ns": [],
            "conditions": {"wall_s": 0.5, "gpu": None, "seen": [1]},
            "disturbed": ["foreign load"] if launch else [],
        }
        for launch in (0, 1)
    ]
    (folder / "launches.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in launches))
    write_samples(folder, [SampleRow(CELL, 0, [5, 6]), SampleRow(CELL, 1, [7])])
    return load_run(folder)


def test_cells_have_the_columns_of_cells_json(run: Run) -> None:
    pytest.importorskip("pandas")
    frame = deploymark.cells_frame(run)
    assert list(frame.columns) == list(cell_row(CellResult("a", "ok")))
    assert frame.loc[0, "latency_p50_ms"] == 10.0


def test_launches_have_their_medians_and_what_is_nested_by_its_name(run: Run) -> None:
    pytest.importorskip("pandas")
    frame = deploymark.launches_frame(run)
    assert frame["latency_p50_ms"].tolist() == [2.0, 2.0]
    assert frame["iterations"].tolist() == [3, 3]
    assert frame["disturbed"].tolist() == [False, True]
    assert frame["conditions.wall_s"].tolist() == [0.5, 0.5]
    assert not {"latency_ns", "conditions", "conditions.seen"} & set(frame.columns)


def test_samples_are_one_inference_a_row(run: Run) -> None:
    pytest.importorskip("pandas")
    frame = deploymark.samples_frame(run)
    assert list(frame.columns) == ["cell", "launch", "iteration", "latency_ns"]
    assert frame["latency_ns"].tolist() == [5, 6, 7]
    (run.folder / "samples.parquet").unlink()
    with pytest.raises(BadInputError, match="cannot be read"):
        deploymark.samples_frame(run)


def test_without_pandas_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BadInputError, match="pandas") as caught:
        deploymark.cells_frame(run)
    assert "deploymark[pandas]" in str(caught.value)
