from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deploymark.backends.agreement import Boxes
from deploymark.bench.records.run import CellResult, read_fidelity
from deploymark.bench.score.fidelity import (
    PICTURED_CELLS,
    PICTURES_A_CELL,
    WORST_IMAGES,
    CellImages,
    add_fidelity,
    compare,
    deployed_boxes,
    reference_of,
)
from deploymark.bench.worker.detections import Detections, save_detections

if TYPE_CHECKING:
    from conftest import CommandLine

Row = tuple[float, float, int, float]
"""x1 and y1 of a box of 20 x 20 pixels, its class and score."""

CAT: Row = (10, 10, 0, 0.9)
DOG: Row = (60, 10, 1, 0.8)
BIRD: Row = (10, 60, 2, 0.7)


def boxes(*rows: Row) -> Boxes:
    ordered = sorted(rows, key=lambda row: -row[3])
    corners = [(x, y, x + 20, y + 20) for x, y, _, _ in ordered]
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array([row[3] for row in ordered], np.float32),
        np.array([row[2] for row in ordered], np.int64),
    )


def detections(*rows: Row) -> Detections:
    one = boxes(*rows)
    return Detections(one.corners, one.scores, one.classes.astype(np.int32))


def with_score(row: Row, score: float) -> Row:
    return (*row[:3], score)


def test_the_same_boxes_agree_and_do_not_drift() -> None:
    images = [boxes(CAT, DOG), boxes(BIRD), boxes()]
    found = compare(images, images)
    assert (found.agreement, found.score_drift, found.reference_boxes) == (1.0, 0.0, 3)
    assert found.worst == ()


def test_a_missing_box_costs_its_share() -> None:
    found = compare([boxes(CAT, DOG), boxes(BIRD)], [boxes(CAT), boxes(BIRD)])
    assert found.agreement == pytest.approx(2 / 3)
    assert found.score_drift == pytest.approx(0)
    (worst,) = found.worst
    assert (worst.index, worst.missed, worst.extra) == (0, 1, 0)
    assert worst.agreement == pytest.approx(0.5)


def test_a_box_too_many_is_extra() -> None:
    found = compare([boxes(CAT), boxes(DOG)], [boxes(CAT), boxes(DOG, with_score(BIRD, 0.95))])
    assert found.agreement == pytest.approx(2 / 3)  # the false box is ranked first
    (worst,) = found.worst
    assert (worst.index, worst.missed, worst.extra) == (1, 0, 1)
    nowhere = compare([boxes(CAT), boxes()], [boxes(CAT), boxes(with_score(BIRD, 0.3))])
    assert nowhere.agreement == 1.0  # ranked last, it takes nothing from the others
    assert [(item.index, item.agreement, item.extra) for item in nowhere.worst] == [(1, 0.0, 1)]


def test_a_box_of_another_class_is_no_match() -> None:
    found = compare([boxes(CAT)], [boxes((*CAT[:2], 1, 0.9))])
    assert (found.agreement, found.score_drift) == (0.0, None)
    assert (found.worst[0].missed, found.worst[0].extra) == (1, 1)
    assert found.worst[0].mean_score_change is None


def test_drift_is_the_mean_signed_change_of_the_score() -> None:
    rows = [CAT, DOG, BIRD]
    lower = [with_score(row, row[3] - 0.1) for row in rows]
    found = compare([boxes(*rows)], [boxes(*lower)])
    assert found.agreement == 1.0
    assert found.score_drift == pytest.approx(-0.1)
    assert compare([boxes(*lower)], [boxes(*rows)]).score_drift == pytest.approx(0.1)
    both_ways = [with_score(CAT, 0.8), with_score(DOG, 0.9)]
    assert compare([boxes(CAT, DOG)], [boxes(*both_ways)]).score_drift == pytest.approx(0)


def test_a_score_that_falls_below_what_is_shown_still_drifts() -> None:
    found = compare([boxes(CAT, DOG)], [boxes(CAT, with_score(DOG, 0.2))])
    assert found.score_drift == pytest.approx(-0.3)
    assert found.worst == ()
    gone = compare([boxes(CAT, DOG)], [boxes(CAT)])
    assert gone.score_drift == pytest.approx(0)
    assert [(item.missed, item.extra) for item in gone.worst] == [(1, 0)]


def test_a_box_at_the_threshold_is_neither_missed_nor_extra() -> None:
    low, high = boxes(with_score(CAT, 0.24)), boxes(with_score(CAT, 0.26))
    assert compare([low, boxes(DOG)], [high, boxes(DOG)]).worst == ()
    assert compare([high], [low]).worst == ()
    invented = compare([boxes(), boxes(DOG)], [high, boxes(DOG)])
    assert [(item.index, item.agreement, item.extra) for item in invented.worst] == [(0, 0.0, 1)]


def test_a_reference_that_finds_nothing_gives_no_figure() -> None:
    found = compare([boxes(with_score(CAT, 0.2))], [boxes(DOG)])
    assert (found.agreement, found.score_drift, found.reference_boxes) == (None, None, 0)
    assert [(item.index, item.extra) for item in found.worst] == [(0, 1)]


def test_the_worst_images_come_first() -> None:
    full = boxes(CAT, DOG, BIRD)
    candidates = [full, boxes(CAT, DOG), boxes(), boxes(CAT), boxes(with_score(DOG, 0.9))]
    found = compare([full] * 5, candidates)
    assert [item.index for item in found.worst] == [2, 3, 4, 1]
    many = compare([full] * 9, [boxes(CAT)] * 9)
    assert [item.index for item in many.worst] == list(range(WORST_IMAGES))


def test_both_sides_have_the_same_images() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare([boxes(CAT), boxes()], [boxes(CAT)])


row = st.tuples(
    st.integers(0, 80), st.integers(0, 80), st.integers(0, 2), st.floats(0.0625, 1, width=32)
)
image = st.lists(row, max_size=6).map(lambda rows: boxes(*rows))


@given(st.lists(st.tuples(image, image), max_size=4))
def test_figures_lie_in_their_ranges(pairs: list[tuple[Boxes, Boxes]]) -> None:
    reference, candidate = [one for one, _ in pairs], [other for _, other in pairs]
    found = compare(reference, candidate)
    assert (found.agreement is None) == (found.reference_boxes == 0)
    assert found.agreement is None or 0 <= found.agreement <= 1
    assert found.score_drift is None or -1 <= found.score_drift <= 1
    agreements = [item.agreement for item in found.worst]
    assert agreements == sorted(agreements)
    for item in found.worst:
        truths = int((reference[item.index].scores > 0.25).sum())
        shown = int((candidate[item.index].scores > 0.25).sum())
        assert 0 <= item.missed <= truths
        assert 0 <= item.extra <= shown
        assert 0 <= item.agreement <= 1
    assert compare(reference, reference).worst == ()


def test_stored_boxes_are_those_of_a_deployment() -> None:
    """One class a place, and none of the thousands of boxes that mAP alone asks for."""
    stored = detections(CAT, (*CAT[:2], 1, 0.4), DOG, with_score(BIRD, 0.01))
    kept = deployed_boxes(stored)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8])
    assert kept.classes.tolist() == [0, 1]
    assert len(deployed_boxes(detections()).scores) == 0


def cell(
    backend: str = "onnxruntime", precision: str = "fp32", variant: str = "dense", **more: Any
) -> CellResult:
    values = {"model": "m", "device": "cpu", "imgsz": 320, **more}
    ending = "".join(f"-{value}" for value in values.values())
    name = f"m-{variant}-{precision}-{backend}{ending}"
    return CellResult(
        cell=name, status="ok", backend=backend, precision=precision, variant=variant, **values
    )


def reference_name(one: CellResult, *others: CellResult) -> str | None:
    found = reference_of(one, [*others, one])
    return None if found is None else found.cell


def test_the_reference_is_of_the_same_backend_and_device() -> None:
    here, eager = cell(), cell("torch")
    on_gpu = cell(device="cuda")
    assert reference_name(cell(precision="int8"), eager, on_gpu, here) == here.cell
    assert reference_name(cell(precision="int8", device="cuda"), eager, here, on_gpu) == on_gpu.cell
    assert reference_name(cell(variant="l1_50"), eager, here) == here.cell
    assert reference_name(cell(batch=8), eager, here) == here.cell


def test_without_one_the_reference_is_that_which_runs_the_checkpoint_itself() -> None:
    eager, openvino, foreign = cell("torch"), cell("openvino"), cell("of-others")
    litert = cell("litert", "int8")
    assert reference_name(litert, foreign, openvino, eager) == eager.cell
    assert reference_name(litert, foreign, openvino) == openvino.cell
    assert reference_name(litert, foreign) == foreign.cell
    # An unchanged FP32 cell tells what its runtime does; the first of all has nothing to tell.
    assert reference_name(cell(), eager) == eager.cell
    assert reference_name(eager, cell()) is None
    assert reference_name(cell()) is None


@pytest.mark.parametrize(
    "other",
    [
        cell(model="n"),
        cell(imgsz=640),
        cell(precision="fp16"),
        cell(variant="l1_50"),
    ],
)
def test_nothing_else_is_a_reference(other: CellResult) -> None:
    assert reference_name(cell(precision="int8"), other) is None


def test_a_cell_whose_boxes_are_cut_is_no_reference() -> None:
    cut = cell("openvino", accuracy_doubt="a cap of boxes")
    assert reference_name(cell(precision="int8"), cut) is None


def test_a_file_made_elsewhere_is_compared_with_itself_under_another_backend() -> None:
    ours, theirs = cell("torch"), cell("openvino", variant="as-is", model="file")
    file = cell(variant="as-is", model="file")
    assert reference_name(theirs, ours, file) == file.cell
    assert reference_name(file, ours, theirs) is None
    assert reference_name(cell(variant="as-is", model="file"), ours) is None


SIZE = 96


def stored(folder: Path, name: str, images: Sequence[Detections]) -> CellImages:
    save_detections(folder / f"{name}.npz", images)
    pixels = folder / f"{len(images)}.npy"
    if not pixels.exists():
        random = np.random.default_rng(0)
        np.save(pixels, random.integers(0, 256, (len(images), SIZE, SIZE, 3), dtype=np.uint8))
    names = [f"photo {index}.jpg" for index in range(len(images))]
    return CellImages(folder / f"{name}.npz", names, pixels)


def test_a_run_gets_figures_a_file_and_pictures(tmp_path: Path) -> None:
    reference, changed, broken = cell(), cell(precision="int8"), cell(precision="fp16")
    broken.status = "crashed"
    full, less = detections(CAT, DOG), detections(CAT)
    images = {
        reference.cell: stored(tmp_path, "reference", [full] * 6),
        changed.cell: stored(tmp_path, "changed", [full, less, detections(), less, less, less]),
        broken.cell: stored(tmp_path, "broken", [full] * 6),
    }
    told: list[str] = []
    add_fidelity([reference, changed, broken], images, tmp_path, told.append)
    assert (reference.agreement, reference.agreement_reference) == (None, None)
    assert (broken.agreement, broken.agreement_reference) == (None, None)
    assert changed.agreement_reference == reference.cell
    assert changed.agreement == pytest.approx(0.5)
    assert changed.score_drift == pytest.approx(0)
    assert len(told) == 2
    assert f"{changed.cell}: agreement 0.5000 with {reference.cell}" in told

    record = read_fidelity(tmp_path)
    assert list(record) == [changed.cell]
    entry = record[changed.cell]
    assert entry["reference"] == reference.cell
    assert (entry["agreement"], entry["reference_boxes"]) == (changed.agreement, 12)
    worst = entry["worst_images"]
    assert [item["image"] for item in worst] == [f"photo {index}.jpg" for index in (2, 1, 3, 4, 5)]
    assert worst[0] == {
        "image": "photo 2.jpg",
        "index": 2,
        "agreement": 0.0,
        "missed": 2,
        "extra": 0,
        "mean_score_change": None,
        "picture": f"fidelity/{changed.cell}-1.jpg",
    }
    pictures = sorted(path.name for path in (tmp_path / "fidelity").iterdir())
    assert pictures == [f"{changed.cell}-{number}.jpg" for number in range(1, PICTURES_A_CELL + 1)]
    assert [item["picture"] is None for item in worst] == [False, False, False, True, True]
    with Image.open(tmp_path / worst[0]["picture"]) as picture:
        assert picture.size == (SIZE, SIZE)


def test_only_the_worst_cells_get_pictures(tmp_path: Path) -> None:
    reference = cell()
    full = detections(*[(10 + 3 * place, 10.0, 0, 0.9) for place in range(0, 27, 9)])
    images = {reference.cell: stored(tmp_path, "reference", [full])}
    changed = []
    for number in range(PICTURED_CELLS + 2):
        one = cell(precision="int8", threads=number + 1)
        lost = full if number == 0 else detections(CAT) if number == 1 else detections()
        images[one.cell] = stored(tmp_path, str(number), [lost])
        changed.append(one)
    add_fidelity([reference, *changed], images, tmp_path, lambda _: None)
    pictured = {path.name for path in (tmp_path / "fidelity").iterdir()}
    assert pictured == {f"{one.cell}-1.jpg" for one in changed[2:]}


def test_nothing_to_compare_leaves_an_empty_file(tmp_path: Path) -> None:
    one = cell()
    add_fidelity([one], {one.cell: stored(tmp_path, "one", [detections()])}, tmp_path, print)
    assert read_fidelity(tmp_path) == {}
    assert not (tmp_path / "fidelity").exists()


MATRIX = """
models:
  - {path: builtin:digits, data: photos}
imgsz: [160]
calibration: {images: 8}
measure:
  {launches: 1, target_interval: null, warmup_max_s: 0.3, latency_s: 0.1,
   min_iterations: 5, max_iterations: 50, e2e_iterations: 3}
validity: {enabled: false}  # the machine of a test is as busy as it is
backends:
  - {name: onnxruntime, precisions: [fp32, int8]}
"""


@pytest.mark.heavy
@pytest.mark.real
def test_a_folder_without_labels_is_judged_by_agreement(
    deploymark: CommandLine, shared_cache: Path, digits: Path
) -> None:
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    photos = deploymark.folder / "photos"
    photos.mkdir()
    for path in sorted((digits / "images" / "val").iterdir())[:12]:
        (photos / path.name).write_bytes(path.read_bytes())
    (deploymark.folder / "photos.yaml").write_text(MATRIX)
    listed = deploymark("list", "photos.yaml")
    assert "2 cells" in listed.stdout
    done = deploymark("run", "photos.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    run = deploymark.latest
    full, int8 = json.loads((run / "cells.json").read_text())
    assert [(c["map50_95"], c["map50"], c["map_images"]) for c in (full, int8)] == [(None,) * 3] * 2
    assert full["agreement"] is None
    assert int8["agreement_reference"] == full["cell"]
    assert 0.7 < int8["agreement"] <= 1
    assert abs(int8["score_drift"]) < 0.2
    (dataset,) = json.loads((run / "run.json").read_text())["datasets"]
    assert (dataset["labelled"], dataset["scored_images"]) == (False, 9)
    assert (dataset["calibration_source"], dataset["calibration_images"]) == ("folder", 3)
    summary = (run / "summary.md").read_text()
    assert "no labels, so there is no mAP" in summary
    assert (run / "report.html").stat().st_size > 0
