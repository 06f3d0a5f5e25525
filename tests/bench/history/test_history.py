from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.history import history as module
from deploymark.bench.history.history import Choice, followed_figures, history, write_history
from deploymark.bench.history.past_runs import find_runs
from deploymark.bench.records.run import RUN_FILE
from deploymark.bench.records.trends import (
    HISTORY_FILE,
    NOTHING_RECORDED,
    History,
    Series,
    history_text,
    read_history,
)
from tests.run_series import CELL, IMAGES, MACHINE, MakeRun, latencies, result

ONE_FIGURE = Choice(figures=("latency_p50_ms",))


def series_of(found: History, figure: str = "latency_p50_ms", cell: str = CELL) -> Series:
    (machine,) = found.machines
    (one,) = [item for item in machine.series if (item.cell, item.figure) == (cell, figure)]
    return one


def test_a_latency_keeps_the_mark_of_its_cell(results: Path, make_run: MakeRun) -> None:
    for day in range(2):
        make_run(day, result(disturbed=day == 1))
    series = series_of(history(results, ONE_FIGURE))
    assert [point.disturbed for point in series.points] == [False, True]


def test_a_new_version_is_named_where_the_latency_changed(results: Path, make_run: MakeRun) -> None:
    for day, latency in enumerate(latencies(30, 20)):
        version = "1.32.0" if day >= 20 else "1.31.0"
        make_run(
            day,
            result(latency_p50_ms=latency, latency_ci_low_ms=9.0, latency_ci_high_ms=11.0),
            packages={"onnxruntime": version, "openvino": "2026.4"},
        )
    found = history(results, ONE_FIGURE)
    (machine,) = found.machines
    assert machine.hosts == ["one"]
    assert [run.started for run in machine.runs] == sorted(run.started for run in machine.runs)
    series = series_of(found)
    assert [point.run for point in series.points] == list(range(30))
    assert (series.points[0].low, series.points[0].high) == (9.0, 11.0)
    (change,) = series.changes
    assert change.run == 20
    assert machine.runs[change.run].git_commit == f"{20:040x}"
    assert change.change == pytest.approx(0.06, abs=0.01)
    assert change.change == pytest.approx(change.after / change.before - 1)
    assert change.p_value is not None
    assert change.p_value <= 0.005
    assert change.found == ["onnxruntime 1.31.0 → 1.32.0"]


@pytest.mark.parametrize(
    ("cell", "info", "found"),
    [
        ({}, {}, [NOTHING_RECORDED]),
        ({"artifact_sha256": "f" * 64}, {}, ["artifact changed"]),
        ({}, {"models": [{"name": "m", "sha256": "f" * 64}]}, ["model m changed"]),
        ({}, {"models": [{"name": "other", "sha256": "f" * 64}]}, [NOTHING_RECORDED]),
        (
            {"artifact_sha256": "f" * 64},
            {"packages": {"torch": "3", "onnxruntime": "2", "openvino": "2027"}},
            ["artifact changed", "onnxruntime 1.31.0 → 2", "openvino 2026.4 → 2027"],
        ),
        (
            {},
            {"matrix": {"measure": {"launches": 9}}},
            ["measure.launches 5 → 9"],
        ),
        ({}, {"machine": MACHINE | {"os": "Linux 6.2"}}, ["os Linux 6.1 → Linux 6.2"]),
        ({}, {"machine": MACHINE | {"host": "two"}}, ["host one → two"]),
        # the images scored do not make it slower
        ({}, {"datasets": [IMAGES | {"scored_hash": "f" * 64}]}, [NOTHING_RECORDED]),
    ],
)
def test_what_else_changed_is_named(
    results: Path, make_run: MakeRun, cell: Any, info: Any, found: Any
) -> None:
    for day, latency in enumerate(latencies(24, 18)):
        changed = day >= 18
        make_run(
            day,
            result(latency_p50_ms=latency, **(cell if changed else {})),
            **(info if changed else {}),
        )
    (change,) = series_of(history(results, ONE_FIGURE)).changes
    assert change.found == found


def test_a_cause_one_run_beside_the_change_is_named_as_such(
    results: Path, make_run: MakeRun
) -> None:
    for day, latency in enumerate(latencies(24, 18)):
        make_run(
            day,
            result(latency_p50_ms=latency),
            packages={"onnxruntime": "1.32.0" if day >= 17 else "1.31.0"},
        )
    (change,) = series_of(history(results, ONE_FIGURE)).changes
    assert change.found == ["one run earlier: onnxruntime 1.31.0 → 1.32.0"]


def test_hosts_that_are_new_each_time_explain_nothing(results: Path, make_run: MakeRun) -> None:
    for day, latency in enumerate(latencies(24, 18)):
        machine = MACHINE | {"host": f"runner-{day}"}
        make_run(day, result(latency_p50_ms=latency), machine=machine)
    found = history(results, ONE_FIGURE)
    (change,) = series_of(found).changes
    assert change.found == [NOTHING_RECORDED]
    assert len(history(results, ONE_FIGURE, by_host=True).machines) == 24


def test_figures_without_noise_change_at_once_and_add_up(results: Path, make_run: MakeRun) -> None:
    sizes = [1000, 1000, 1004, 1008, 1012, 1012, 1000]
    scores = [0.4, 0.4, 0.395, 0.38, 0.38, 0.38, 0.38]
    for day, (size, score) in enumerate(zip(sizes, scores, strict=True)):
        make_run(day, result(artifact_bytes=size, map50_95=score))
    found = history(results, Choice(figures=("artifact_bytes", "map50_95")))
    size_changes = series_of(found, "artifact_bytes").changes
    assert [(change.run, change.before, change.after) for change in size_changes] == [
        (4, 1000, 1012),
        (6, 1012, 1000),
    ]
    assert size_changes[0].change == pytest.approx(0.012)
    (score_change,) = series_of(found, "map50_95").changes
    assert (score_change.run, score_change.p_value) == (3, None)
    assert score_change.change == pytest.approx(-0.02)
    assert not series_of(found, "map50_95").relative


def test_cells_that_were_not_measured_leave_gaps(results: Path, make_run: MakeRun) -> None:
    make_run(0, result(), result("b", latency_p50_ms=None))
    make_run(1, result(status="invalid"), result("b", latency_p50_ms=0.0))
    make_run(2, result("b", latency_p50_ms=3.0))
    make_run(3, result())
    found = history(results, ONE_FIGURE)
    assert [point.run for point in series_of(found).points] == [0, 3]
    assert [point.run for point in series_of(found, cell="b").points] == [2]


def test_broken_and_foreign_folders_are_skipped_and_named(results: Path, make_run: MakeRun) -> None:
    make_run(0)
    make_run(1, finished=None)
    torn = make_run(2)
    (torn / "cells.json").write_text('[{"cell": "x", "sta')
    lists = make_run(3)
    (lists / "cells.json").write_text("[[1]]")
    nameless = make_run(4)
    (nameless / "cells.json").write_text('[{"cell": 7, "status": "ok"}]')
    late = make_run(5, started="yesterday")
    for name, text in (("torn", '{"a'), ("list", "[]"), ("empty", "")):
        (results / name).mkdir()
        (results / name / RUN_FILE).write_text(text)
    foreign = json.loads((torn / RUN_FILE).read_text()) | {"machine": "a machine", "models": 3}
    (results / "foreign").mkdir()
    (results / "foreign" / RUN_FILE).write_text(json.dumps(foreign))
    (results / "notes").mkdir()
    (results / "notes.txt").write_text("no run")
    found = history(results, ONE_FIGURE)
    (machine,) = found.machines
    assert [run.run for run in machine.runs] == ["20260101T000000Z-one-00000000"]
    skipped = {Path(item.folder).name for item in found.skipped}
    assert skipped == {
        "20260102T000000Z-one-00000001",
        torn.name,
        lists.name,
        nameless.name,
        late.name,
        "torn",
        "list",
        "empty",
        "foreign",
    }
    assert all(item.reason for item in found.skipped)


def test_odd_values_of_another_program_break_nothing(results: Path, make_run: MakeRun) -> None:
    for day, size in enumerate([1, 1, 2]):
        folder = make_run(
            day,
            result(artifact_bytes=size),
            packages={"x": str(day)},
            matrix={"backends": [3, {"name": None}]},
        )
    write_history(folder)
    found = read_history(folder)
    assert found is not None
    (change,) = series_of(found, "artifact_bytes").changes
    assert change.found == ["x 1 → 2"]


@pytest.mark.parametrize("odd", [{"precision": 3}, {"latency_p50_ms": "fast"}])
def test_a_run_with_figures_of_another_shape_is_left_out_and_named(
    results: Path, make_run: MakeRun, odd: dict[str, Any]
) -> None:
    for day in range(3):
        make_run(day, result())
    folder = make_run(3, dataclasses.replace(result(), **odd))
    found = history(results, Choice(figures=("latency_p50_ms",)))
    assert len(series_of(found).points) == 3
    (skipped,) = found.skipped
    assert skipped.folder == str(folder)
    assert f"[0].{next(iter(odd))}" in skipped.reason


def test_runs_are_ordered_by_their_start_wherever_they_lie(
    results: Path, make_run: MakeRun
) -> None:
    make_run(2, name="a")
    make_run(0, name="from-ci/z")
    make_run(1, name="deep/er/m")
    make_run(3, name="too/deep/to/find")
    (results / "latest").symlink_to("a", target_is_directory=True)
    copy = make_run(2, name="copy/a")
    runs, skipped = find_runs(results)
    assert [run.name for run in runs] == ["z", "m", "a"]
    assert not skipped
    assert copy.exists()


def test_the_newest_runs_are_looked_at(results: Path, make_run: MakeRun) -> None:
    for day in range(6):
        make_run(day)
    (machine,) = history(results, ONE_FIGURE, most_runs=2).machines
    assert [run.started[:10] for run in machine.runs] == ["2026-01-05", "2026-01-06"]


def test_machines_are_told_apart_and_chosen(results: Path, make_run: MakeRun) -> None:
    make_run(0)
    make_run(1, machine=MACHINE | {"cpu": "Other CPU", "host": "jetson"})
    found = history(results, ONE_FIGURE)
    assert [item.name.split(",")[0] for item in found.machines] == ["Other CPU", "A CPU"]
    for text in ("jetson", "other cpu", found.machines[0].machine[:5]):
        (one,) = history(results, ONE_FIGURE, machine=text).machines
        assert one.machine == found.machines[0].machine
    with pytest.raises(BadInputError, match="no such machine"):
        history(results, ONE_FIGURE, machine="abacus")


def test_bad_input_is_told(results: Path, make_run: MakeRun) -> None:
    with pytest.raises(BadInputError, match="no folder"):
        history(results, ONE_FIGURE)
    folder = make_run(0)
    with pytest.raises(BadInputError, match="is one run"):
        history(folder, ONE_FIGURE)
    with pytest.raises(BadInputError, match="-k"):
        history(results, ONE_FIGURE, select="(")
    with pytest.raises(NothingToRunError, match="selects no measured cell"):
        history(results, ONE_FIGURE, select="nothing")
    with pytest.raises(BadInputError, match="did you mean 'latency_p50_ms'"):
        followed_figures(["latency_p50"])
    make_run(1, finished=None, name="unfinished/one")
    with pytest.raises(BadInputError, match="no end"):
        history(results / "unfinished", ONE_FIGURE)


def test_a_run_gets_the_history_of_its_own_cells(results: Path, make_run: MakeRun) -> None:
    assert write_history(make_run(0, result(), result("gone"))) is None
    make_run(1, machine=MACHINE | {"cpu": "Other"})
    (results / "torn").mkdir()
    (results / "torn" / RUN_FILE).write_text("{")
    folder = make_run(2, result(), result("new"))
    make_run(3)
    path = write_history(folder)
    assert path == folder / HISTORY_FILE
    found = read_history(folder)
    assert found is not None
    (machine,) = found.machines
    assert [run.started[:10] for run in machine.runs] == ["2026-01-01", "2026-01-03"]
    assert {series.cell for series in machine.series} == {CELL, "new"}
    # what is gone beside it is gone from it
    for other in results.iterdir():
        if other != folder:
            for file in other.iterdir():
                file.unlink()
    assert write_history(folder) is None
    assert read_history(folder) is None


def test_the_history_of_a_run_is_bounded(
    results: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RUNS", 3)
    for day in range(5):
        folder = make_run(day)
    write_history(folder)
    found = read_history(folder)
    assert found is not None
    assert len(found.machines[0].runs) == 3


def test_a_run_under_way_has_a_history_too(make_run: MakeRun) -> None:
    make_run(0)
    assert write_history(make_run(1, finished=None)) is not None


def test_a_history_that_cannot_be_read_is_told(make_run: MakeRun) -> None:
    make_run(0)
    folder = make_run(1)
    path = write_history(folder)
    assert path is not None
    text = path.read_text()
    for bad in ("{", text.replace('"schema_version": 1', '"schema_version": 9')):
        path.write_text(bad)
        with pytest.raises(BadInputError, match=r"history\.json"):
            read_history(folder)


def test_history_json_has_no_nan(results: Path, make_run: MakeRun) -> None:
    for day, size in enumerate([1, 1, 2]):
        folder = make_run(day, result(artifact_bytes=size))
    file = folder / "cells.json"
    file.write_text(file.read_text().replace("10.0", "NaN"))
    found = history(results, Choice(figures=("artifact_bytes", "latency_p50_ms")))
    assert [point.run for point in series_of(found).points] == [0, 1]
    text = history_text(found)
    assert "NaN is no figure" in text  # why the third run is left out
    assert "NaN" not in text.replace("NaN is no figure", "")
