from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.launches import append_launch, counted, drop_torn_line, read_launches
from deploymark.bench.records.run import (
    FIDELITY_FILE,
    VARIANTS_FILE,
    CellResult,
    RunInfo,
    load_run,
    read_fidelity,
    read_variants,
    write_cells,
    write_run_info,
)

CONTRACT = [
    "cell",
    "machine",
    "status",
    "reason",
    "disturbed",
    "model",
    "variant",
    "sparsity",
    "precision",
    "backend",
    "device",
    "imgsz",
    "height",
    "width",
    "batch",
    "threads",
    "artifact_sha256",
    "artifact_bytes",
    "artifact_gzip_bytes",
    "launches",
    "iterations",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_mean_ms",
    "latency_ci_low_ms",
    "latency_ci_high_ms",
    "cold_ms",
    "load_ms",
    "e2e_p50_ms",
    "throughput_ips",
    "peak_rss_bytes",
    "model_rss_bytes",
    "device_memory_bytes",
    "energy_j_per_image",
    "energy_gross_j_per_image",
    "energy_idle_w",
    "energy_source",
    "energy_kind",
    "energy_scope",
    "energy_period_ms",
    "min_memory_mb",
    "map50_95",
    "map50",
    "map_images",
    "params",
    "macs",
    "nonzero_fraction",
    "executed_precision",
]


def info() -> RunInfo:
    return RunInfo(
        matrix={},
        matrix_file="m.yaml",
        machine={"host": "h"},
        packages={},
        seed=0,
        started="2026-01-01T00:00:00Z",
    )


def test_a_run_reads_back_as_written(tmp_path: Path) -> None:
    cells = [
        CellResult(cell="a", status="ok", latency_p50_ms=1.5),
        CellResult("b", "timeout", "slow"),
    ]
    write_run_info(tmp_path, info())
    write_cells(tmp_path, cells)
    run = load_run(tmp_path)
    assert run.info == info()
    assert list(run.cells) == cells


def test_cells_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    write_cells(tmp_path, [CellResult("a", "ok")])
    (row,) = json.loads((tmp_path / "cells.json").read_text())
    assert list(row)[: len(CONTRACT)] == CONTRACT
    assert row["latency_p50_ms"] is None


def test_columns_of_later_versions_are_ignored(tmp_path: Path) -> None:
    write_run_info(tmp_path, info())
    (tmp_path / "cells.json").write_text('[{"cell": "a", "status": "ok", "brand_new": 1}]')
    assert load_run(tmp_path).cells[0].cell == "a"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_never_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"a": value})


def test_a_torn_last_launch_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "launches.jsonl"
    with path.open("w") as stream:
        append_launch(stream, {"cell": "a", "launch": 0, "status": "crashed"})
        append_launch(stream, {"cell": "b", "launch": 0, "status": "crashed"})
        stream.write('{"cell": "c", "lau')
    assert [record["cell"] for record in read_launches(tmp_path)] == ["a", "b"]
    drop_torn_line(tmp_path)
    with path.open("a") as stream:
        append_launch(stream, {"cell": "d", "launch": 0, "status": "crashed"})
    assert [record["cell"] for record in read_launches(tmp_path)] == ["a", "b", "d"]


def launch(number: int, *, disturbed: bool, status: str = "ok") -> dict[str, object]:
    return {"launch": number, "status": status, "disturbed": ["steal"] if disturbed else []}


def test_disturbed_launches_count_in_a_marked_cell_alone() -> None:
    first = [launch(0, disturbed=True), launch(0, disturbed=False)]
    second = [launch(1, disturbed=True), launch(1, disturbed=True)]
    failed = launch(2, disturbed=False, status="crashed")
    every = [*first, *second, failed]
    assert counted(every, disturbed=False) == first[1:]
    assert counted(every, disturbed=True) == [first[1], second[1]]
    assert counted([*second, failed], disturbed=False) == second[1:], "invalid, and shown"
    assert counted([failed], disturbed=True) == []
    assert counted([{"launch": 0, "status": "ok"}], disturbed=False), "of an older run"


def test_a_broken_launch_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "launches.jsonl").write_text('{"cell": "a", "status": "timeout"}\n{"cell":\n')
    with pytest.raises(BadInputError, match=r"launches\.jsonl:2 cannot be read"):
        list(read_launches(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is not a run directory"),
        ("{", "cannot be read"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "is incomplete"),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInputError, match=words):
        load_run(tmp_path)


def test_a_run_that_was_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    write_run_info(tmp_path, info())
    with pytest.raises(BadInputError, match="--resume"):
        load_run(tmp_path)


def test_what_a_run_may_have_beside(tmp_path: Path) -> None:
    assert read_variants(tmp_path) == []
    assert read_fidelity(tmp_path) == {}
    (tmp_path / VARIANTS_FILE).write_text('[{"variant": "l1"}, 3]')
    (tmp_path / FIDELITY_FILE).write_text('{"a": {"agreement": 1}, "b": 3}')
    assert read_variants(tmp_path) == [{"variant": "l1"}]
    assert read_fidelity(tmp_path) == {"a": {"agreement": 1}}


@pytest.mark.parametrize("text", ["{", "3"])
def test_what_lies_beside_a_run_must_be_readable(tmp_path: Path, text: str) -> None:
    (tmp_path / VARIANTS_FILE).write_text(text)
    (tmp_path / FIDELITY_FILE).write_text(text)
    with pytest.raises(BadInputError, match=VARIANTS_FILE):
        read_variants(tmp_path)
    with pytest.raises(BadInputError, match=FIDELITY_FILE):
        read_fidelity(tmp_path)
