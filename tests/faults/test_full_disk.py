"""Disks that are too small; ``tests/benchmarks/full_disks.py`` draws sizes at random."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.faults.full_disk import faults_of_full_disk, tmpfs
from tests.faults.interrupted import Place

pytestmark = [pytest.mark.heavy, pytest.mark.real]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")

AMPLE = 1 << 30


@pytest.fixture(autouse=True)
def mounting(tmp_path: Path) -> None:
    try:
        with tmpfs(tmp_path / "trial", AMPLE):
            return
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")


@pytest.mark.parametrize(("which", "size"), [("results", 40_960), ("store", 4_194_304)])
def test_a_run_on_a_disk_that_is_too_small_goes_on_when_there_is_room(
    tmp_path: Path, which: str, size: int
) -> None:
    told, faults = faults_of_full_disk(Place(tmp_path / "place"), which, size, AMPLE)
    assert faults == []
    assert "error:" in told
