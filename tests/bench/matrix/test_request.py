from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from deploymark.bench.matrix.request import RunRequest, resolve_matrix


@pytest.mark.parametrize(("strict", "on_disturbed"), [(False, "mark"), (True, "fail")])
def test_strict_is_part_of_the_resolved_matrix(strict: bool, on_disturbed: str) -> None:
    request = RunRequest(backends=("onnxruntime",), strict=strict)
    resolved = resolve_matrix(request)
    assert resolved.matrix.validity.on_disturbed == on_disturbed
    assert resolved.matrix.validity.repeats == 2, "the rest of the section stays"


def test_options_are_kept_to_be_given_again_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "my.pt", "w") as archive:
        archive.writestr("my/data.pkl", b"opened by the child that builds, and nowhere else")
    request = RunRequest(
        model="my.pt",
        data="builtin:digits",
        imgsz=("384x640", 320),
        backends=("onnxruntime",),
        skip_bad=True,
    )
    options = resolve_matrix(request).options
    assert " ".join(options) == (
        f"--imgsz 384x640,320 --backends onnxruntime --model {tmp_path / 'my.pt'} "
        "--data builtin:digits --skip-bad"
    )
    assert resolve_matrix(RunRequest()).options == ()


def test_more_launches_and_images_can_be_asked_for() -> None:
    resolved = resolve_matrix(RunRequest(backends=("onnxruntime",), launches=25, max_images=96))
    measure = resolved.matrix.measure
    assert (measure.launches, measure.max_launches) == (25, 25)
    assert resolved.matrix.scoring.max_images == 96
    assert resolved.options == (
        *("--backends", "onnxruntime"),
        *("--launches", "25", "--max-images", "96"),
    )
