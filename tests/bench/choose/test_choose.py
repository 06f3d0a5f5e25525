from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deploymark.bench.choose.choose import choose
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.answer import read_answer, write_answer
from deploymark.bench.records.run import read_run_info, write_run_info
from tests.bench.choose.conftest import AddLaunches, fp32, row
from tests.run_series import MakeRun


def test_the_best_is_as_accurate_as_fp32_and_the_fastest(make_run: MakeRun) -> None:
    folder = make_run(
        0, fp32(), row("int8", 5.0), row("lossy", 3.0, map50_95=0.35), row("bf16", 9.0)
    )
    answer = choose(folder)
    assert (answer.outcome, answer.winner) == ("best", "int8")
    assert answer.question.default
    assert answer.question.where == ["map50_95 >= fp32 - 0.01"]
    standings = {cell.cell: cell.standing for cell in answer.cells}
    assert standings == {"int8": "winner", "bf16": "behind", "fp32": "behind", "lossy": "violates"}
    assert "not met: 0.350, \N{MINUS SIGN}0.050" in answer.cell("lossy").reason
    assert "80.0 % [76.4, 83.6] slower than int8" in answer.cell("bf16").reason
    [baseline] = answer.baselines
    assert baseline.cell == "fp32"
    assert baseline.ratios["latency_p50_ms"].value == pytest.approx(0.25)
    assert baseline.ratios["artifact_bytes"].high == pytest.approx(0.25)
    assert baseline.differences["map50_95"].value == 0


def test_launches_of_the_same_rounds_are_compared_with_each_other(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    """The machine drifts by 40 % over the rounds; the one cell is 10 % slower in each."""
    folder = make_run(
        0,
        row("a", 12.0, latency_ci_low_ms=9.0, latency_ci_high_ms=15.0),
        row("b", 13.2, latency_ci_low_ms=9.9, latency_ci_high_ms=16.5),
    )
    drift = [10.0, 11.0, 12.0, 13.0, 14.0]
    add_launches(folder, {"a": drift, "b": [1.1 * value for value in drift]})
    answer = choose(folder, [])
    assert (answer.outcome, answer.winner) == ("best", "a")
    assert answer.cell("b").ratio.low == pytest.approx(1.1, rel=1e-4)


def test_a_tie_is_settled_by_the_named_figure_and_else_by_size(make_run: MakeRun) -> None:
    narrow = {"latency_ci_low_ms": 5.0, "latency_ci_high_ms": 5.01}
    folder = make_run(
        0,
        row("a", 5.0, **narrow, artifact_bytes=4_000_000, peak_rss_bytes=10),
        row("b", 5.01, **narrow, artifact_bytes=3_000_000, peak_rss_bytes=20),
    )
    by_size, by_memory = choose(folder, []), choose(folder, [], then="peak_rss_bytes")
    assert (by_size.outcome, by_size.winner, by_size.tie) == ("tie", "b", ["b", "a"])
    assert by_size.settled_by == "artifact_bytes"
    assert (by_memory.winner, by_memory.settled_by) == ("a", "peak_rss_bytes")


def test_more_of_a_figure_can_be_asked_for(make_run: MakeRun) -> None:
    folder = make_run(0, row("a", 5.0, map50_95=0.3), row("b", 9.0, map50_95=0.4))
    answer = choose(folder, [], maximize="map50_95")
    assert (answer.outcome, answer.winner) == ("best", "b")
    assert answer.cell("a").ratio.value == pytest.approx(0.75)
    assert "25.0 %" in answer.cell("a").reason
    assert "lower than b" in answer.cell("a").reason


def test_a_wide_interval_leaves_it_open_and_says_what_decides(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    folder = make_run(0, row("a", 5.0), row("b", 5.5))
    add_launches(folder, {"a": [4.0, 5.0, 6.0], "b": [6.0, 5.5, 5.0]})
    answer = choose(folder, [])
    assert (answer.outcome, answer.winner, answer.leader) == ("undecided", None, "a")
    assert answer.needed is not None
    assert answer.needed.launches is not None
    assert answer.needed.launches > 3
    launches = answer.needed.launches
    assert answer.needed.command == f"deploymark run m.yaml --launches {launches} -k 'a or b'"


def test_what_decides_is_asked_of_the_model_that_was_measured(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    folder = make_run(0, row("a", 5.0), row("b", 5.5))
    info = read_run_info(folder)
    write_run_info(folder, dataclasses.replace(info, options=["--model", "/my own.pt"]))
    add_launches(folder, {"a": [4.0, 5.0, 6.0], "b": [6.0, 5.5, 5.0]})
    needed = choose(folder, []).needed
    assert needed is not None
    assert needed.command == (
        f"deploymark run m.yaml --model '/my own.pt' --launches {needed.launches} -k 'a or b'"
    )


def test_a_constraint_that_is_open_leaves_a_cell_that_could_win_open(make_run: MakeRun) -> None:
    few = {"map_images": 100}
    folder = make_run(0, fp32(), row("int8", 5.0), row("open", 4.0, map50_95=0.35, **few))
    answer = choose(folder)
    assert (answer.outcome, answer.leader) == ("undecided", "int8")
    assert answer.cell("open").standing == "open"
    assert answer.needed is not None
    assert answer.needed.images is not None
    assert answer.needed.images > 100
    slower = make_run(1, fp32(), row("int8", 5.0), row("open", 8.0, map50_95=0.35, **few))
    assert choose(slower).winner == "int8"


def test_infeasible_names_the_nearest_cell_and_the_bounds_that_bind(make_run: MakeRun) -> None:
    folder = make_run(0, fp32(), row("int8", 5.0), row("small", 9.0, artifact_bytes=2_500_000))
    answer = choose(folder, ["artifact_bytes <= 2MB", "latency_p50_ms <= 100"])
    assert (answer.outcome, answer.winner) == ("infeasible", None)
    assert answer.relaxation is not None
    assert answer.relaxation.cell == "small"
    assert answer.relaxation.bounds == [("artifact_bytes <= 2MB", "artifact_bytes <= 2.5 MB")]


def test_a_figure_that_was_not_measured_never_passes(make_run: MakeRun) -> None:
    folder = make_run(0, row("a", 5.0), row("b", 9.0, energy_j_per_image=0.1))
    answer = choose(folder, ["energy_j_per_image <= 1"])
    assert answer.winner == "b"
    assert answer.cell("a").standing == "not_measured"
    assert "no energy per image" in answer.cell("a").reason


def test_without_fp32_nothing_can_be_held_against_it(make_run: MakeRun) -> None:
    folder = make_run(0, row("a", 5.0))
    assert choose(folder).question.where == []
    answer = choose(folder, ["artifact_bytes <= fp32 * 0.5"])
    assert answer.outcome == "infeasible"
    assert "no dense FP32 cell" in answer.cell("a").reason


def test_a_cell_whose_map_is_cut_meets_no_constraint_on_it_and_is_no_reference(
    make_run: MakeRun,
) -> None:
    doubt = "the file keeps scores above a floor only"
    cut = fp32("cut", 4.0, map50_95=0.1, accuracy_doubt=doubt)
    folder = make_run(0, cut, fp32(), row("int8", 5.0, map50_95=0.395))
    answer = choose(folder, ["map50_95 >= fp32 - 0.01"])
    assert answer.winner == "int8"
    assert answer.cell("int8").constraints[0].reference == "fp32"
    assert answer.cell("cut").standing == "not_measured"
    assert doubt in answer.cell("cut").reason
    alone = choose(make_run(1, cut))
    assert (alone.question.where, alone.winner) == ([], "cut")


def test_without_labels_the_default_is_agreement(make_run: MakeRun) -> None:
    none = {"map50_95": None, "map_images": None}
    folder = make_run(
        0,
        fp32(**none),
        row("int8", 5.0, **none, agreement=0.97, agreement_reference="fp32"),
        row("lossy", 3.0, **none, agreement=0.5, agreement_reference="fp32"),
    )
    answer = choose(folder)
    assert answer.question.where == ["agreement >= 0.95"]
    # nothing tells how far an agreement carries without its boxes
    assert answer.cell("int8").constraints[0].state == "undecided"
    assert answer.cell("fp32").constraints[0].state == "met"


def test_a_single_launch_decides_what_is_far_from_a_bound(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    folder = make_run(0, row("a", 5.0, cold_ms=15.0))
    add_launches(folder, {"a": [5.0]})
    assert choose(folder, ["cold_ms <= 40"]).outcome == "best"
    assert choose(folder, ["cold_ms <= 20"]).outcome == "undecided"
    assert choose(folder, ["cold_ms <= 7"]).outcome == "infeasible"


def test_cells_that_failed_are_told_and_nothing_measured_is_no_error(make_run: MakeRun) -> None:
    crashed = row("a", 5.0, status="crashed", reason="signal 11", latency_p50_ms=None)
    answer = choose(make_run(0, crashed))
    assert (answer.outcome, answer.winner, answer.relaxation) == ("infeasible", None, None)
    assert answer.cell("a").reason == "crashed: signal 11"


def test_disturbed_cells_are_figures_and_a_note(make_run: MakeRun) -> None:
    answer = choose(make_run(0, row("a", 5.0, disturbed=True), row("b", 9.0)), [])
    assert answer.winner == "a"
    assert answer.cell("a").disturbed
    assert any("1 of 2 cells were disturbed" in note for note in answer.notes)


def test_all_faults_of_a_question_are_told_at_once(make_run: MakeRun) -> None:
    with pytest.raises(BadInputError) as caught:
        choose(make_run(0), ["latncy_p50_ms <= 5"], "map50", then="sise", indifference=5)
    for told in ("latncy_p50_ms", "sise", "indifference 5"):
        assert told in caught.value.message


def test_an_answer_is_read_as_it_was_written(make_run: MakeRun) -> None:
    folder = make_run(0, fp32(), row("int8", 5.0), row("lossy", 3.0, map50_95=0.35))
    answer = choose(folder, ["map50_95 >= fp32 - 0.01", "artifact_bytes <= 1MB"])
    write_answer(folder, answer)
    assert read_answer(folder) == answer


def test_no_answer_is_none_and_another_version_is_told(tmp_path: Path) -> None:
    assert read_answer(tmp_path) is None
    (tmp_path / "answer.json").write_text("{}")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_answer(tmp_path)


def test_more_energy_launches_are_asked_for_where_energy_is_open(
    make_run: MakeRun, add_launches: AddLaunches
) -> None:
    folder = make_run(
        0,
        row("a", 5.0, energy_j_per_image=0.50, energy_kind="counter"),
        row("b", 9.0, energy_j_per_image=0.52, energy_kind="counter"),
    )
    add_launches(folder, {"a": [5.0, 5.4, 4.6], "b": [5.2, 5.0, 5.6]})
    answer = choose(folder, [], "energy_j_per_image")
    assert answer.outcome == "undecided"
    assert answer.needed is not None
    assert "energy: {launches: " in answer.needed.reason


def test_a_modelled_energy_is_called_one_and_never_set_beside_a_measured_one(
    make_run: MakeRun,
) -> None:
    modelled = {"energy_kind": "modelled", "energy_source": "modelled from processor time"}
    alone = make_run(0, row("a", 5.0, energy_j_per_image=0.5, **modelled))
    answer = choose(alone, [], "energy_j_per_image")
    assert any("modelled from processor time" in note for note in answer.notes)
    assert not any("modelled from" in note for note in choose(alone, []).notes)
    mixed = make_run(
        1,
        row("a", 5.0, energy_j_per_image=0.1, **modelled),
        row("b", 9.0, energy_j_per_image=0.5, energy_kind="counter"),
    )
    answer = choose(mixed, [], "energy_j_per_image")
    assert answer.winner == "b"
    assert "modelled, and that of other cells was measured" in answer.cell("a").reason
