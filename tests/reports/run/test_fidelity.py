from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.records.run import CellResult
from deploymark.reports.run import fidelity
from deploymark.reports.run.fidelity import fidelity_views

MakeCell = Callable[..., CellResult]

JPEG = b"\xff\xd8\xff\xe0 a picture"


def worst(picture: object, **values: Any) -> dict[str, Any]:
    known = {"image": "a.png", "index": 4, "agreement": 0.5, "missed": 2, "extra": 1}
    return known | {"mean_score_change": -0.031, "picture": picture} | values


def address(cell: CellResult, folder: Path, picture: object) -> str:
    found = {cell.cell: {"worst_images": [worst(picture)]}}
    (view,) = fidelity_views([cell], found, folder)
    return view.images[0].picture


@pytest.fixture
def cell(make_cell: MakeCell) -> CellResult:
    return make_cell("c", agreement=0.9, agreement_reference="dense", score_drift=-0.012)


def test_figures_of_a_cell(cell: CellResult) -> None:
    (view,) = fidelity_views([cell], {"c": {"worst_images": [worst(None)]}})
    assert (view.cell, view.reference) == ("c", "dense")
    assert (view.agreement.text, view.drift.text) == ("0.900", "−0.012")  # noqa: RUF001
    assert view.images[0].name == "a.png"
    assert view.images[0].words == "agreement 0.500, 2 missed, 1 extra, scores −0.031"  # noqa: RUF001
    assert view.images[0].picture == ""


def test_lowest_agreement_first_and_only_what_was_compared(
    make_cell: MakeCell, make_failed: MakeCell
) -> None:
    cells = [
        make_cell("a", agreement=0.9, agreement_reference="d"),
        make_cell("d"),
        make_cell("b", agreement=0.8, agreement_reference="d"),
        make_cell("nothing found", agreement=None, agreement_reference="d"),
        make_failed("crashed", agreement=0.1, agreement_reference="d"),
    ]
    assert [view.cell for view in fidelity_views(cells, {})] == ["b", "a", "nothing found"]


def test_a_picture_of_the_run_is_embedded(cell: CellResult, tmp_path: Path) -> None:
    (tmp_path / "fidelity").mkdir()
    (tmp_path / "fidelity" / "c-1.jpg").write_bytes(JPEG)
    found = address(cell, tmp_path, "fidelity/c-1.jpg")
    head, _, data = found.partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data) == JPEG


@pytest.mark.parametrize(
    "picture",
    [
        None,
        7,
        "",
        "missing.jpg",
        "../outside.jpg",
        "link.jpg",
        "text.jpg",
        "large.jpg",
        "picture.svg",
        "folder.jpg",
        "nul\0.jpg",
        "https://example.org/a.jpg",
        "data:image/svg+xml,a.jpg",
    ],
)
def test_anything_else_is_left_out(cell: CellResult, tmp_path: Path, picture: object) -> None:
    run = tmp_path / "run"
    (run / "folder.jpg").mkdir(parents=True)
    (tmp_path / "outside.jpg").write_bytes(JPEG)
    (run / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (run / "text.jpg").write_text("<svg onload=alert(1)>")
    (run / "picture.svg").write_bytes(JPEG)
    (run / "large.jpg").write_bytes(JPEG + bytes(fidelity.LARGEST_PICTURE_BYTES))
    assert address(cell, run, picture) == ""


def test_an_absolute_path_is_left_out(cell: CellResult, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "outside.jpg").write_bytes(JPEG)
    assert address(cell, tmp_path / "run", str(tmp_path / "outside.jpg")) == ""


def test_pictures_stop_at_their_limit(
    cell: CellResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "MOST_PICTURES_BYTES", 2 * len(JPEG))
    (tmp_path / "a.jpg").write_bytes(JPEG)
    found = {"c": {"worst_images": [worst("a.jpg")] * 3}}
    (view,) = fidelity_views([cell], found, tmp_path)
    assert [bool(image.picture) for image in view.images] == [True, True, False]


def test_many_cells_list_the_images_of_the_worst(
    make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "MOST_CELLS", 2)
    cells = [make_cell(str(n), agreement=0.1 * n, agreement_reference="d") for n in range(5, 0, -1)]
    found = {cell.cell: {"worst_images": [worst(None)]} for cell in cells}
    views = fidelity_views(cells, found)
    assert [(view.cell, len(view.images)) for view in views][:3] == [("1", 1), ("2", 1), ("3", 0)]


def test_a_file_of_another_shape_is_no_error(cell: CellResult) -> None:
    (view,) = fidelity_views([cell], {"c": {"worst_images": [3, {"agreement": "x"}]}})
    assert [image.words for image in view.images] == [""]
    assert fidelity_views([cell], {"c": {"worst_images": "x"}})[0].images == ()
