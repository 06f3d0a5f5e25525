"""What names the sides of a gate, and what narrows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.gate.sides import SideRequest, check_of_use
from deploymark.bench.records.run import RUN_FILE


@pytest.fixture
def run(tmp_path: Path) -> str:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RUN_FILE).write_text("{}")
    return str(folder)


def test_options_that_no_side_can_follow_are_refused_all_at_once(run: str) -> None:
    request = SideRequest(run, data="d.yaml", imgsz=("320",), precisions=("int8",))
    with pytest.raises(BadInputError) as caught:
        check_of_use([request, request])
    text = str(caught.value)
    assert "--data is of a model file, and no side is one" in text
    assert "--imgsz is of a model file or a matrix" in text
    assert "--precisions is of a model file or a matrix" in text
    assert "--backends" not in text


def test_an_option_of_one_side_is_of_use(run: str, tmp_path: Path) -> None:
    file = tmp_path / "new.onnx"
    file.touch()
    more = {"data": "d.yaml", "imgsz": ("320",), "boxes": "normalised"}
    check_of_use([SideRequest(run, **more), SideRequest(str(file), **more)])  # type: ignore[arg-type]
    check_of_use([SideRequest(run, imgsz=("320",)), SideRequest("default", imgsz=("320",))])
    with pytest.raises(BadInputError, match="--boxes is of a model file"):
        check_of_use([SideRequest("default", boxes="pixels")])
