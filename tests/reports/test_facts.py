from __future__ import annotations

from collections.abc import Callable

from bench.results import CellResult, Run
from reports import facts, figures

MakeCell = Callable[..., CellResult]
MakeRun = Callable[..., Run]


def test_headline(make_run: MakeRun, make_cell: MakeCell, make_failed: MakeCell) -> None:
    run = make_run(make_cell("a"), make_failed("b"), artifacts_built=2, artifacts_reused=0)
    known = {fact.name: fact.text for fact in facts.headline(run)}
    assert known["cells ok"] == "1 of 2"
    assert known["took"] == "3 min 4 s"
    assert known["host"] == "bench-01"
    assert known["seed"] == "7"
    assert known["commit"] == "0123456789ab"
    assert known["artifacts"] == "2 built, 0 reused"
    assert "selection" not in known


def test_machine_line(make_run: MakeRun) -> None:
    line = facts.machine_line(make_run().info.machine)
    assert line == "bench-01 · A CPU · 2 logical cores · 8.00 GiB memory"
    assert facts.machine_line({}) == "unknown machine"


def test_nested_facts() -> None:
    values = {
        "cpu": {"name": "A CPU", "turbo": True},
        "memory_bytes": 8 << 30,
        "gpus": [],
        "flags": [str(index) for index in range(40)],
        "governor": None,
    }
    found = {fact.name: fact for fact in facts.nested_facts(values)}
    assert found["cpu name"].text == "A CPU"
    assert found["cpu turbo"].text == "yes"
    assert found["memory"].text == "8.00 GiB"
    assert found["gpus"].text == "none"
    assert found["flags"].folded
    assert found["governor"].text == figures.ABSENT


def test_an_unfinished_run_says_so(make_run: MakeRun) -> None:
    assert facts.state(make_run()) is None
    state = facts.state(make_run(finished=None))
    assert state is not None
    assert "--resume" in state


def test_calibration_from_the_validation_images_is_told() -> None:
    datasets = [
        {"name": "one", "calibration_source": "train", "calibration_images": 64},
        {"name": "two", "calibration_source": "validation", "calibration_images": 32},
    ]
    (sentence,) = facts.held_out([*datasets, datasets[1]])
    assert sentence.startswith("32 images")
    assert "two" in sentence
