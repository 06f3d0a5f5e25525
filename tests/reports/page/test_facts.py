from __future__ import annotations

from collections.abc import Callable

from deploymark.bench.records.run import CellResult, Run
from deploymark.reports.page import facts, figures

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


def test_the_marks_of_a_run_are_told_with_what_disturbed_it(
    make_run: MakeRun, make_cell: MakeCell
) -> None:
    cells = make_cell("a"), make_cell("b", disturbed=True)
    run = make_run(*cells, disturbed="1 of 2 cells are marked disturbed: steal")
    assert ("marked disturbed", "1 of 2") in [
        (fact.name, fact.text) for fact in facts.headline(run)
    ]
    said = facts.disturbed(run)
    assert said is not None
    assert said.startswith("1 of 2 cells are marked disturbed: steal. Their intervals")
    calm = make_run(cells[0])
    assert facts.disturbed(calm) is None
    assert "marked disturbed" not in {fact.name for fact in facts.headline(calm)}
    without = facts.disturbed(make_run(*cells))
    assert without is not None
    assert without.startswith("1 of 2 cells are marked disturbed. ")


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
