"""How far a cell finds what its reference found on the same images: a judgement without labels.

The reference is the dense FP32 model; its boxes stand for the truth, as in ``backends.agreement``.
What is compared are the boxes that a run stores, so nothing is inferred again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploymark.backends.agreement import (
    FOUND_CONFIDENCE,
    TRUTH_CONFIDENCE,
    Boxes,
    box_agreement,
    matches,
)
from deploymark.bench.matrix.cells import is_changed
from deploymark.bench.records.files import write_sealed
from deploymark.bench.records.reference import backend_rank
from deploymark.bench.records.run import FIDELITY_FILE, FIDELITY_FOLDER, CellResult
from deploymark.bench.score.fidelity_pictures import draw
from deploymark.bench.worker.detections import Detections, load_detections

if TYPE_CHECKING:
    import numpy.typing as npt

MATCH_IOU = 0.5
"""Overlap from which on two boxes are the same object, for everything but the agreement itself."""

WORST_IMAGES = 5
"""Images named for each cell."""

PICTURED_CELLS = 12
"""Cells that get pictures, those of lowest agreement: a report holds them all in one file."""

PICTURES_A_CELL = 3


@dataclasses.dataclass(frozen=True)
class CellImages:
    """What there is of a measured cell.

    ``predictions`` is the file of its boxes (``bench.worker.detections.save_detections``),
    ``names`` are the file names of the images and ``pixels`` is the file of their letterboxed
    pixels (``bench.data.images.PreparedImages``), all in the same order.
    """

    predictions: Path
    names: Sequence[str]
    pixels: Path


@dataclasses.dataclass(frozen=True)
class ImageFidelity:
    """One image. ``agreement`` is the average precision on it alone.

    Of the boxes that a user would see, with a score above 0.25, ``missed`` counts those of the
    reference that the cell does not have even at 0.05, and ``extra`` those of the cell that the
    reference does not have even at 0.05: a score that slips from 0.26 to 0.24 is neither. It is in
    ``mean_score_change``, that of the boxes found by both, None where there is none. ``agreement``
    is 1 where the reference has no box above 0.25 and nothing is extra, 0 where something is.
    """

    index: int
    agreement: float
    missed: int
    extra: int
    mean_score_change: float | None


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """All images together.

    ``agreement`` in [0, 1], None where the reference finds nothing on any image. ``score_drift`` is
    the mean signed change of the score, cell minus reference, of the boxes found by both; None
    where there is none. ``reference_boxes`` is the number of boxes that stand for the truth;
    ``worst`` are the images where something differs, the worst first.
    """

    agreement: float | None
    score_drift: float | None
    reference_boxes: int
    worst: tuple[ImageFidelity, ...]


def reference_of(cell: CellResult, cells: Sequence[CellResult]) -> CellResult | None:
    """The cell to compare with: FP32, of the unchanged model, of the same model and imgsz.

    That of the same backend and device where there is one, so that what the recipe or the precision
    did is told from what the runtime does. For a cell that is that one itself, or where there is
    none, that of the first of the shipped backends (``backends.registry.BUILTIN`` begins with the
    one that runs the checkpoint as it is), other backends after them; equals in the order of
    ``cells``. None where no other cell is left.

    Unchanged is the variant ``dense``. Of a file made elsewhere (``as-is``) it is the same file
    under another backend, where that file is FP32: nothing else in the run is sure to be the same
    detector. ``cells`` are those that have predictions and pass their guards; one whose mAP is in
    doubt is no reference.
    """
    unchanged = [
        other
        for other in cells
        if not is_changed(other.variant)
        and other.accuracy_doubt is None
        and (other.precision, other.model, other.imgsz) == ("fp32", cell.model, cell.imgsz)
    ]
    here = (cell.backend, cell.device)
    own = next((other for other in unchanged if (other.backend, other.device) == here), None)
    if own is not None and own.cell != cell.cell:
        return own
    first = min(unchanged, key=lambda other: backend_rank(other.backend), default=None)
    return first if first is not None and first.cell != cell.cell else None


def deployed_boxes(image: Detections) -> Boxes:
    """What of the stored boxes matters in use: above ``FOUND_CONFIDENCE``, one class a place.

    Boxes are stored for mAP, where one place gives a box for every class (``decode`` with
    ``multi_label``); of those that lie exactly upon each other the best is kept.
    """
    kept = image.scores > FOUND_CONFIDENCE
    boxes = image.boxes[kept]
    _, first = np.unique(boxes, axis=0, return_index=True)
    order = np.sort(first)  # best score first, as they came
    return Boxes(
        boxes[order], image.scores[kept][order], image.classes[kept][order].astype(np.int64)
    )


def compare(reference: Sequence[Boxes], candidate: Sequence[Boxes]) -> Fidelity:
    """How far the candidate's boxes are the reference's, one entry an image on both sides.

    Agreement as ``backends.agreement.agreement`` defines it: the reference's boxes above 0.25 are
    the truth, and the mean over IoU 0.50 to 0.95 is taken. A box is found by both where a box of
    the candidate above 0.05 overlaps the reference's of the same class by 0.5 or more: with a
    higher threshold the scores that fell most would drop out of ``score_drift``. Raises ValueError
    where the two differ in the number of images.
    """
    images: list[ImageFidelity] = []
    changes: list[float] = []
    truths = 0
    for index, (one, found) in enumerate(zip(reference, candidate, strict=True)):
        truth, shown = one.above(TRUTH_CONFIDENCE), found.above(TRUTH_CONFIDENCE)
        pairs = matches(truth, found, MATCH_IOU)
        extra = len(shown.scores) - len(matches(one, shown, MATCH_IOU))
        here = [float(found.scores[row]) - float(truth.scores[place]) for row, place in pairs]
        images.append(
            ImageFidelity(
                index=index,
                agreement=box_agreement([one], [found]) if len(truth.scores) else float(not extra),
                missed=len(truth.scores) - len(pairs),
                extra=extra,
                mean_score_change=_mean(here),
            )
        )
        truths += len(truth.scores)
        changes += here
    return Fidelity(
        agreement=box_agreement(reference, candidate) if truths else None,
        score_drift=_mean(changes),
        reference_boxes=truths,
        worst=_worst(images),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _worst(images: Sequence[ImageFidelity]) -> tuple[ImageFidelity, ...]:
    """Lowest agreement first, then most boxes missed or extra; none where nothing differs."""
    differing = [item for item in images if item.agreement < 1 or item.missed or item.extra]
    ranked = sorted(differing, key=lambda i: (i.agreement, -(i.missed + i.extra), i.index))
    return tuple(ranked[:WORST_IMAGES])


def add_fidelity(
    results: Sequence[CellResult],
    images: Mapping[str, CellImages],
    folder: Path,
    on_done: Callable[[str], None],
) -> None:
    """Fill in the agreement of all cells, and write ``fidelity.json`` and the pictures.

    ``results`` are changed in place: those that are ok, are in ``images`` and have a reference.
    ``on_done`` is told of each cell that is ok.
    """
    measured = [cell for cell in results if cell.status == "ok" and cell.cell in images]
    boxes: dict[str, list[Boxes]] = {}

    def boxes_of(name: str) -> list[Boxes]:
        if name not in boxes:
            stored = load_detections(images[name].predictions)
            boxes[name] = [deployed_boxes(image) for image in stored]
        return boxes[name]

    compared: dict[str, Fidelity] = {}
    for cell in measured:
        reference = reference_of(cell, measured)
        if reference is None:
            on_done(f"{cell.cell}: nothing to compare with")
            continue
        found = compare(boxes_of(reference.cell), boxes_of(cell.cell))
        compared[cell.cell] = found
        cell.agreement, cell.agreement_reference = found.agreement, reference.cell
        cell.score_drift = found.score_drift
        on_done(f"{cell.cell}: {_said(found)} with {reference.cell}")

    pictures = _pictures(measured, compared, images, boxes, folder)
    record = {
        cell.cell: _record(cell, compared[cell.cell], images[cell.cell].names, pictures)
        for cell in measured
        if cell.cell in compared
    }
    write_sealed(folder / FIDELITY_FILE, record)


def _said(found: Fidelity) -> str:
    return "nothing to agree on" if found.agreement is None else f"agreement {found.agreement:.4f}"


def _pictures(
    measured: Sequence[CellResult],
    compared: Mapping[str, Fidelity],
    images: Mapping[str, CellImages],
    boxes: Mapping[str, list[Boxes]],
    folder: Path,
) -> dict[tuple[str, int], str]:
    """Draw the worst images of the worst cells; their paths in ``folder`` by cell and image."""
    differing = [cell for cell in measured if cell.cell in compared and compared[cell.cell].worst]
    differing.sort(key=lambda cell: 1.0 if cell.agreement is None else cell.agreement)
    drawn: dict[tuple[str, int], str] = {}
    for cell in differing[:PICTURED_CELLS]:
        (folder / FIDELITY_FOLDER).mkdir(exist_ok=True)
        pixels = np.load(images[cell.cell].pixels, mmap_mode="r")
        for number, image in enumerate(compared[cell.cell].worst[:PICTURES_A_CELL], 1):
            name = f"{FIDELITY_FOLDER}/{cell.cell}-{number}.jpg"
            one = boxes[cell.agreement_reference or ""][image.index]
            other = boxes[cell.cell][image.index]
            draw(pixels[image.index], _seen(one, other), _seen(other, one), folder / name)
            drawn[cell.cell, image.index] = name
    return drawn


def _seen(one: Boxes, other: Boxes) -> npt.NDArray[np.float32]:
    """Corners of the boxes of ``one`` above 0.25, and of those that ``other`` has above 0.25.

    Drawn for both sides, a box that stands alone is one that is missed or extra.
    """
    shown = len(one.above(TRUTH_CONFIDENCE).scores)  # the first ones: the best come first
    shared = {place for _, place in matches(one, other.above(TRUTH_CONFIDENCE), MATCH_IOU)}
    corners: npt.NDArray[np.float32] = one.corners[sorted({*range(shown), *shared})]
    return corners


def _record(
    cell: CellResult,
    found: Fidelity,
    names: Sequence[str],
    pictures: Mapping[tuple[str, int], str],
) -> dict[str, object]:
    return {
        "reference": cell.agreement_reference,
        "agreement": found.agreement,
        "score_drift": found.score_drift,
        "reference_boxes": found.reference_boxes,
        "worst_images": [
            {
                "image": names[image.index],
                **dataclasses.asdict(image),
                "picture": pictures.get((cell.cell, image.index)),
            }
            for image in found.worst
        ],
    }
