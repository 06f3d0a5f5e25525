from __future__ import annotations

from collections.abc import Callable

from deploymark.bench.records.run import CellResult
from deploymark.reports.run import outcomes

MakeCell = Callable[..., CellResult]


def test_one_cause_is_told_once(make_cell: MakeCell, make_failed: MakeCell) -> None:
    cells = [
        make_failed("a"),
        make_failed("b", "export_failed", reason="no operator", remedy=None),
        make_failed("c"),
        make_cell("d"),
        make_failed("e", "unavailable"),
    ]
    assert outcomes.failures(cells) == [
        outcomes.Cause("export_failed", "no operator", "", ("b",)),
        outcomes.Cause("crashed", "the worker ended with signal 11", "See its log.", ("a", "c")),
    ]
    assert [cause.cells for cause in outcomes.not_served(cells)] == [("e",)]
    assert outcomes.count_statuses(cells) == [
        ("ok", 1),
        ("unavailable", 1),
        ("export_failed", 1),
        ("crashed", 2),
    ]


def test_a_cell_without_a_reason_is_not_lost(make_failed: MakeCell) -> None:
    (cause,) = outcomes.failures([make_failed("a", reason=None)])
    assert cause.cells == ("a",)
    assert cause.reason


def test_a_disturbed_cell_is_no_failure(make_cell: MakeCell, make_failed: MakeCell) -> None:
    cells = [
        make_cell("a", disturbed=True, reason="steal", remedy="another machine"),
        make_failed("b", disturbed=True),
    ]
    assert outcomes.disturbed(cells) == [outcomes.Cause("disturbed", "steal", "", ("a",))]
    assert [cause.cells for cause in outcomes.failures(cells)] == [("b",)]
    assert outcomes.not_served(cells) == []


def test_warnings_and_cells_left_out(make_cell: MakeCell) -> None:
    cells = [make_cell("a", warnings=["not steady", "drift"]), make_cell("b", warnings=["drift"])]
    assert [(w.reason, w.cells) for w in outcomes.warnings(cells)] == [
        ("not steady", ("a",)),
        ("drift", ("a", "b")),
    ]
    (cause,) = outcomes.left_out([{"cell": "x", "reason": "QAT is for int8"}])
    assert (cause.reason, cause.cells) == ("QAT is for int8", ("x",))


def test_reasons_that_differ_by_numbers_and_names_are_one_kind(make_failed: MakeCell) -> None:
    cells = [
        make_failed(
            f"c{number}",
            precision=precision,
            reason=f"{precision} needs {number} MiB of 'a{number}.onnx'",
            remedy="Less." if number < 3 else "Raise limits.memory_mb.",
        )
        for number, precision in enumerate(["int8", "fp16", "int8", "fp32", "bf16"], 1)
    ]
    other = make_failed("x", reason="it crashed", remedy="")
    (kind, last) = outcomes.kinds(outcomes.failures([*cells, other]), [*cells, other])
    assert (kind.status, kind.count) == ("crashed", 5)
    assert kind.reason == (
        "int8 / fp16 / fp32 / 1 more needs 1 / 2 / 3 / 2 more MiB of "
        "'a1.onnx' / 'a2.onnx' / 'a3.onnx' / 2 more"
    )
    assert kind.remedies == ("Less.", "Raise limits.memory_mb.")
    assert kind.cells == ("c1", "c2", "c3", "c4", "c5")
    assert [cause.cells for cause in kind.causes] == [(cell.cell,) for cell in cells]
    assert (last.reason, last.cells, last.remedies) == ("it crashed", ("x",), ())


def test_kinds_of_one_cause_keep_its_words(make_failed: MakeCell) -> None:
    cells = [make_failed("a", reason="signal 11"), make_failed("b", reason="signal 11")]
    (kind,) = outcomes.kinds(outcomes.failures(cells), cells)
    assert (kind.reason, kind.cells) == ("signal 11", ("a", "b"))
    assert outcomes.kinds([], []) == []
