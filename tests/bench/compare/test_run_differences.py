from __future__ import annotations

from pathlib import Path
from typing import Any

from deploymark.bench.compare.run_differences import differences, machine_of, same_images
from deploymark.bench.records.run import Run, RunInfo

MACHINE = {"host": "a", "cpu": "C", "gpus": [], "cpu_flags": ["avx"], "governor": None}
BACKEND = {"name": "openvino", "options": {"preset": "mixed"}, "devices": None}
MATRIX = {
    "models": [{"path": "m.pt"}],
    "imgsz": [320],
    "measure": {"launches": 3},
    "backends": [BACKEND],
    "variants": ["dense", {"name": "l1", "steps": [{"kind": "l1", "amount": 0.5}]}],
}
DATASET = {"name": "d", "model": "m", "scored_hash": "1" * 64, "calibration_hash": "2" * 64}


def run(**changes: Any) -> Run:
    known: dict[str, Any] = {
        "matrix": MATRIX,
        "matrix_file": "m.yaml",
        "machine": MACHINE,
        "packages": {"onnxruntime": "1.31.0"},
        "seed": 0,
        "started": "2026-11-24T10:00:00Z",
        "models": [{"name": "m", "sha256": "3" * 64}],
        "datasets": [DATASET],
    }
    return Run(Path("r"), RunInfo(**(known | changes)), ())


def told(*runs: Run) -> dict[str, list[str | None]]:
    return {f"{each.kind} {each.name}": each.values for each in differences(runs)}


def test_runs_that_are_alike_differ_in_nothing() -> None:
    assert told(run(), run(), run()) == {}


def test_machine_packages_settings_and_inputs() -> None:
    other = run(
        machine=MACHINE | {"governor": "powersave", "cpu_flags": ["avx", "fma"]},
        packages={"onnxruntime": "1.32.0", "openvino": "2026.4"},
        seed=1,
        matrix=MATRIX
        | {
            "measure": {"launches": 5},
            "backends": [{"name": "torch"}, BACKEND | {"options": {"preset": "performance"}}],
        },
        models=[{"name": "m", "sha256": "4" * 64}],
        datasets=[DATASET | {"scored_hash": "5" * 64}],
        git_commit="f" * 40,
    )
    assert told(run(), other) == {
        "machine governor": [None, "powersave"],
        "machine cpu flags": ["1: avx", "2: avx fma"],
        "package onnxruntime": ["1.31.0", "1.32.0"],
        "package openvino": [None, "2026.4"],
        "setting measure.launches": ["3", "5"],
        "setting backends.openvino.options.preset": ["mixed", "performance"],
        "setting seed": ["0", "1"],
        "input commit": ["none", "f" * 12],
        "input model m": ["3" * 12, "4" * 12],
        "input images scored, m": ["1" * 12, "5" * 12],
    }


def test_which_cells_there_are_is_no_setting() -> None:
    fewer = MATRIX | {"imgsz": [640], "exclude": [{"reason": "x"}], "variants": ["dense"]}
    assert told(run(), run(matrix=fewer)) == {}


def test_a_variant_of_the_same_name_and_other_steps_is_told() -> None:
    steps = [{"kind": "l1", "amount": 0.7, "max_drop": None}]
    other = MATRIX | {"variants": [{"name": "l1", "steps": steps}]}
    assert told(run(), run(matrix=other)) == {
        "setting variants.l1.steps": [
            '[{"kind": "l1", "amount": 0.5}]',
            '[{"kind": "l1", "amount": 0.7}]',
        ]
    }


def test_machines_are_told_apart_by_host_processor_and_gpu() -> None:
    assert machine_of(run()) == machine_of(run(machine=MACHINE | {"governor": "x"}))
    for change in ({"host": "b"}, {"cpu": "D"}, {"gpus": ["G"]}):
        assert machine_of(run()) != machine_of(run(machine=MACHINE | change))


def test_same_images() -> None:
    other = run(datasets=[DATASET | {"scored_hash": "5" * 64}])
    assert same_images(run(), run(), "m")
    assert not same_images(run(), other, "m")
    assert same_images(run(), run(datasets=[]), "m")  # as far as it is recorded
