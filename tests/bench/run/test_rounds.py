"""All launches of a run, with an executor in the worker's place: what it says is what happened."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.build.artifacts import Built
from deploymark.bench.data.datasets import Dataset
from deploymark.bench.data.images import PreparedImages
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.progress import Progress
from deploymark.bench.records.launches import read_launches
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run import rounds
from deploymark.bench.run.launch import LaunchTask
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.planned_model import PlannedModel
from deploymark.bench.run.rounds import Launches, launch_all
from deploymark.bench.store import StoredArtifact

CALM = {"wall_s": 1.0, "busy_s": 1.0, "steal_s": 0.0, "tick_error_s": 0.0}
STOLEN = {**CALM, "steal_s": 0.5}

Answer = Callable[[LaunchTask], dict[str, Any]]


def answer(latency_ns: int, conditions: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "status": "ok",
        "latency_ns": [latency_ns],
        "duration_s": 2.0,
        "predictions": None,
        "conditions": CALM if conditions is None else conditions,
    }


class Run:
    """A run of cells a, b, …, each launched by calling ``answers``."""

    def __init__(
        self,
        folder: Path,
        measure: dict[str, Any],
        cells: str = "a",
        *,
        strict: bool = False,
        restless: str = "",
    ) -> None:
        self.restless = restless
        self.folder = folder
        self.matrix = Matrix.model_validate(
            {
                "models": [{"path": "m.pt", "data": "d.yaml"}],
                "backends": ["onnxruntime"],
                "measure": measure,
                "validity": {"on_disturbed": "fail" if strict else "mark"},
            }
        )
        self.cells = [
            PlannedCell(
                Cell(
                    "m", name, "fp32", "onnxruntime", "cpu", 64, 1, 1, measure=self.matrix.measure
                ),
                threads=1,
            )
            for name in cells
        ]
        self.tasks: list[LaunchTask] = []
        self.output = ""

    def __call__(self, monkeypatch: pytest.MonkeyPatch, answers: Answer) -> Launches:
        def launch(
            task: LaunchTask, log: Path, on_message: object = None, executor: object = None
        ) -> dict[str, Any]:
            del log, on_message, executor
            self.tasks.append(task)
            slot = task.slot
            head = {"cell": slot.cell, "launch": slot.launch, "attempt": slot.attempt}
            return {**head, **answers(task)}

        monkeypatch.setattr(rounds, "launch", launch)
        monkeypatch.setattr(rounds, "restless", lambda _: self.restless)
        artifact = StoredArtifact(self.folder, "m.onnx", "", 1, 1, {}, {}, {}, 0.0)
        built = {cell.id: Built(Outcome("ok"), artifact) for cell in self.cells}
        stream = io.StringIO()
        with Progress(stream) as progress:
            launches, _ = launch_all(self.plan(), self.cells, built, self.folder, progress)
        self.output += stream.getvalue()
        return launches

    def plan(self) -> Plan:
        dataset = Dataset("d", ("0",), (), (), "none", "", "")
        images = PreparedImages(self.folder / "images.npy", ())
        model = PlannedModel("m", Path("m.pt"), "", dataset, {}, {64: images}, {}, {})
        return Plan(self.matrix, "m.yaml", "", tuple(self.cells), {"m": model}, (), {})

    def lines(self) -> list[dict[str, Any]]:
        return list(read_launches(self.folder))


ONE = "m-a-fp32-onnxruntime-cpu-64-t1"


def test_launches_go_on_until_the_interval_is_narrow_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 2, "target_interval": 0.05, "budget_s": 100})
    times = [100_000_000, 102_000_000, 101_000_000, 100_000_000, 100_000_000]
    launches = run(monkeypatch, lambda task: answer(times[task.slot.launch]))
    assert [record["launch"] for record in launches[ONE]] == [0, 1, 2]
    assert run.lines() == launches[ONE]
    assert run.output.splitlines()[0] == "measure: 2"
    assert f"[2/2] {ONE} launch 2/2: p50 102.00 ms (2 s)" in run.output
    assert f"[3/3] {ONE} launch 3 (±13 %, 4 of 100 s): p50 101.00 ms (2 s)" in run.output


def test_the_budget_ends_the_launches_of_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 2, "budget_s": 7}, cells="ab")
    launches = run(monkeypatch, lambda task: answer(100 + 10 * task.slot.launch))
    assert {name: len(records) for name, records in launches.items()} == {
        ONE: 4,
        ONE.replace("-a-", "-b-"): 4,
    }


def test_a_disturbed_launch_is_kept_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 2, "target_interval": None}, strict=True)

    def disturbed_once(task: LaunchTask) -> dict[str, Any]:
        return answer(100, STOLEN if (task.slot.launch, task.slot.attempt) == (0, 0) else CALM)

    (records,) = run(monkeypatch, disturbed_once).values()
    made = [(record["launch"], record["attempt"], bool(record["disturbed"])) for record in records]
    assert made == [(0, 0, True), (0, 1, False), (1, 0, False)]
    assert run.lines() == records
    assert records[0]["conditions"] == STOLEN
    assert "disturbed: the hypervisor withheld 33 %" in run.output
    assert f"{ONE} launch 1/2 again: p50" in run.output
    assert [task.predictions is not None for task in run.tasks] == [True, False, False]


def test_a_launch_that_stays_disturbed_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 2, "target_interval": None})
    (records,) = run(monkeypatch, lambda _: answer(100, STOLEN)).values()
    made = [(record["launch"], record["attempt"]) for record in records]
    assert made == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    launches = [line for line in run.output.splitlines() if ONE in line]
    assert all(", disturbed" in line and "hypervisor" not in line for line in launches)
    assert all("the hypervisor withheld 33 %" in record["disturbed"][0] for record in records)


def test_on_a_machine_that_is_never_quiet_nothing_is_repeated_and_that_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 3, "target_interval": None}, cells="abcd")
    launches = run(monkeypatch, lambda _: answer(100, STOLEN))
    for records in launches.values():
        assert [(record["launch"], record["attempt"]) for record in records] == [
            (number, 0) for number in range(3)
        ]
    (told,) = [line for line in run.output.splitlines() if "pointless" in line]
    assert told == (
        "the first launches of all 4 cells were disturbed: repeating them is pointless, they are "
        "counted and marked"
    )


def test_a_restless_machine_is_told_before_the_first_launch_and_not_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = "other processes use 0.52 of 2 processors"
    run = Run(tmp_path, {"launches": 1, "target_interval": None}, restless=found)
    run(monkeypatch, lambda _: answer(100))
    assert run.output.splitlines()[1] == (
        f"restless machine: {found}; disturbed figures will be marked (--strict fails them)"
    )
    run(monkeypatch, lambda _: answer(100))
    assert run.output.count("restless machine") == 1


def test_under_the_veto_a_launch_that_stays_disturbed_ends_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(
        tmp_path,
        {"launches": 2, "target_interval": None},
        cells="ab",
        strict=True,
        restless="busy",
    )
    launches = run(monkeypatch, lambda task: answer(100, STOLEN if task.slot.cell == ONE else CALM))
    assert [record["attempt"] for record in launches[ONE]] == [0, 1, 2]
    assert [record["launch"] for record in launches[ONE.replace("-a-", "-b-")]] == [0, 1]
    assert "restless machine: busy; cells that stay disturbed will fail" in run.output


@pytest.mark.parametrize("stolen", [{1}, {0, 1, 2}])
def test_a_run_that_was_stopped_makes_the_launches_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stolen: set[int]
) -> None:
    def answers(task: LaunchTask) -> dict[str, Any]:
        return answer(100 + task.slot.launch, STOLEN if task.slot.launch in stolen else CALM)

    measure = {"launches": 3, "budget_s": 100}
    whole = Run(tmp_path / "whole", measure, cells="abc")
    whole.folder.mkdir()
    expected = whole(monkeypatch, answers)
    for stop in range(1, len(whole.lines())):
        part = Run(tmp_path / f"stopped-{stop}", measure, cells="abc")
        part.folder.mkdir()
        lines = (
            (whole.folder / "launches.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        )
        torn = "".join(lines[:stop]) + lines[stop][:-5]
        (part.folder / "launches.jsonl").write_text(torn, encoding="utf-8")
        assert part(monkeypatch, answers) == expected
        assert len(part.tasks) == len(lines) - stop
        assert part.lines() == whole.lines()


def test_a_failure_ends_the_launches_of_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, {"launches": 3})
    failure = {"status": "crashed", "reason": "SIGSEGV", "remedy": "", "duration_s": 1.0}
    (records,) = run(monkeypatch, lambda _: failure).values()
    assert len(records) == 1
    assert records[0]["disturbed"] == []
    assert "launch 1/3: crashed: SIGSEGV" in run.output
