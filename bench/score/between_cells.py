"""Cells of one model beside each other: nothing found where others find, and figures too far apart.

The weights of such cells are the same, so that what differs is the precision and the runtime. What
a precision explains is stated here; whatever is beyond it is told, and it is for people to find out
which side is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from deploymark.bench.matrix.cells import is_changed
from deploymark.bench.records.run import CellResult
from deploymark.bench.score.findings import FEW_IMAGES, Finding
from deploymark.bench.score.score_guards import NO_MAP50
from deploymark.bench.worker.outputs import OutputFacts

_FLOAT16 = frozenset({"fp16", "bf16", "int8-weights", "palettized"})

EXACT, NEAR, ROUGH = 0, 1, 2
"""How far a precision may lead: float32; float arithmetic in 16 bits or on rounded weights; INT8.
"""

MAP_ALLOWANCE = {EXACT: (0.01, 0.05), NEAR: (0.02, 0.10), ROUGH: (0.05, 0.50)}
"""mAP50-95 that may be lost beside another cell of the same weights: the larger of a difference and
a share of the other's. Post-training INT8 of detectors is usually within 0.03, and loses a third
where it goes badly; runtimes at FP32 were within 0.001 of each other."""

IMAGES_ALLOWANCE = 0.2
"""Over the root of the number of images: a box more or less weighs that much on few of them."""

AGREEMENT = {EXACT: 0.9, NEAR: 0.8, ROUGH: 0.4}
"""Lowest agreement with the FP32 reference that a precision explains, where there is no mAP."""

DRIFT = {EXACT: 0.03, NEAR: 0.05, ROUGH: 0.15}
"""Mean change of the scores that a precision explains. INT8 exports of a YOLO11n were within 0.06.
"""

SOME_MAP = 0.05
"""mAP50-95 from which on a cell has found something."""


def width(precision: str) -> int:
    """How far a precision may lead from float32."""
    if precision == "fp32":
        return EXACT
    return NEAR if precision in _FLOAT16 else ROUGH


def nothing_beside_others(
    cell: CellResult, cells: Sequence[CellResult], facts: Mapping[str, OutputFacts], *, given: bool
) -> Finding | None:
    """A cell without any box, or with mAP 0, where another one of the same weights has some.

    ``cells`` are all of the run that are measured, ``facts`` those of the outputs, by cell.
    """
    own = facts.get(cell.cell)
    empty = own is not None and own.images > 0 and not own.shown_above and cell.map50 is None
    if not empty and (cell.map50 is None or cell.map50 >= NO_MAP50):
        return None
    for other in _peers(cell, cells):
        seen = facts.get(other.cell)
        many = seen is not None and seen.shown_above >= FEW_IMAGES
        if (other.map50_95 or 0) >= SOME_MAP or (cell.map50 is None and many):
            what = "mAP is 0" if cell.map50 is not None else "no box is above a score of 0.25"
            figure = (
                f"has {other.map50_95:.4f}"
                if other.map50_95 is not None
                else f"has {seen.shown_above if seen else 0}"
            )
            return Finding(
                "nothing-beside",
                f"{what}, where {other.cell} {figure}",
                _likely(cell, given=given),
                _remedy(cell, given=given),
                hard=not is_changed(cell.variant),
            )
    return None


def disagreement(cell: CellResult, cells: Sequence[CellResult]) -> Finding | None:
    """A cell that is further below another one of the same weights than its precision explains.

    By mAP, or where there is none by its agreement with its reference. Beside a narrower precision
    the allowance is that of the narrower.
    """
    if cell.map50_95 is None:
        return _by_agreement(cell, cells)
    worst: tuple[float, CellResult] | None = None
    for other in _peers(cell, cells):
        if other.map50_95 is None:
            continue
        allowed = _allowed(max(width(cell.precision), width(other.precision)), other)
        beyond = other.map50_95 - cell.map50_95 - allowed
        if beyond > 0 and (worst is None or beyond > worst[0]):
            worst = beyond, other
    if worst is None:
        return None
    other = worst[1]
    return Finding(
        "disagreement",
        f"mAP50-95 {cell.map50_95:.4f}, where {other.cell} of the same weights has "
        f"{other.map50_95:.4f}",
        f"more than {_explains(cell, other)} (a loss of {_allowed_text(cell, other)})",
        "Compare the boxes of both: the runtime may read the file in another way than its maker.",
        hard=False,
    )


def drift(cell: CellResult) -> Finding | None:
    """Scores that are others than the reference's, of boxes that both found."""
    if is_changed(cell.variant) or cell.score_drift is None or cell.agreement_reference is None:
        return None
    if abs(cell.score_drift) <= DRIFT[width(cell.precision)]:
        return None
    way = "lower" if cell.score_drift < 0 else "higher"
    loses = "loses boxes" if cell.score_drift < 0 else "lets more boxes through"
    return Finding(
        "drift",
        f"scores are {abs(cell.score_drift):.2f} {way} on average than those of "
        f"{cell.agreement_reference}",
        f"whatever mAP says, a threshold that was set for that one {loses} here",
        "Set the threshold of the application for this cell.",
        hard=False,
    )


def _peers(cell: CellResult, cells: Sequence[CellResult]) -> list[CellResult]:
    """Other measured cells of the same weights and size, whose figures can be believed."""
    same = (cell.model, cell.variant, cell.imgsz)
    return [
        other
        for other in cells
        if (other.model, other.variant, other.imgsz) == same
        and other.cell != cell.cell
        and other.status == "ok"
        and other.accuracy_doubt is None
    ]


def _allowed(rank: int, other: CellResult) -> float:
    """What may be lost beside ``other``."""
    difference, share = MAP_ALLOWANCE[rank]
    by_images = IMAGES_ALLOWANCE / math.sqrt(other.map_images or 1)
    return max(difference, share * (other.map50_95 or 0.0), by_images)


def _allowed_text(cell: CellResult, other: CellResult) -> str:
    return f"{_allowed(max(width(cell.precision), width(other.precision)), other):.3f}"


def _explains(cell: CellResult, other: CellResult) -> str:
    both = sorted({cell.precision, other.precision})
    return f"{' and '.join(both)} on {other.map_images or 0} images explain{'s' * (len(both) == 1)}"


def _by_agreement(cell: CellResult, cells: Sequence[CellResult]) -> Finding | None:
    reference = next((other for other in cells if other.cell == cell.agreement_reference), None)
    if cell.agreement is None or is_changed(cell.variant) or reference is None:
        return None
    least = AGREEMENT[width(cell.precision)]
    if cell.agreement >= least:
        return None
    return Finding(
        "disagreement",
        f"agreement with {reference.cell} is {cell.agreement:.3f}",
        f"{cell.precision} of the same weights explains no less than {least:g}",
        "Compare the boxes of both in the report: the runtime may read the file in another way.",
        hard=False,
    )


def _likely(cell: CellResult, *, given: bool) -> str:
    if is_changed(cell.variant):
        return "the recipe left weights that this precision or runtime has nothing of"
    if given:
        return (
            "the runtime reads the file in another way (layout, quantized ends), or it takes "
            "another range of the input"
        )
    lost = "" if cell.precision == "fp32" else f", or what {cell.precision} rounds away"
    return f"likely what this backend's export lost{lost}"


def _remedy(cell: CellResult, *, given: bool) -> str:
    if given:
        return (
            "Measure the file under another backend; say what it takes in its entry in the "
            "matrix: `input: {range: [0, 255]}`, `boxes: normalised`."
        )
    if cell.precision == "fp32":
        return "Measure the model under another backend, and report this one's export."
    return "Keep layers in float, or take another precision."
