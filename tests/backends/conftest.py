"""A small real detector, and fresh interpreters."""

from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploymark.backends import packages
from deploymark.backends.base import Detector, ExportRequest
from deploymark.backends.inputs import Size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IMGSZ = 64
FLOAT_NODES = (r"^/model\.23/(?!(one2one_)?cv[23]).*",)
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class SmallDetector:
    """A YOLO11n of three classes with random weights that behave like trained ones.

    ``calibration`` and ``images`` are float32 (1, 3, 64, 64) and (2, 3, 64, 64); ``expected`` is
    what PyTorch predicts for ``images`` in float32.
    """

    model: Callable[[], Any]
    calibration: Sequence[npt.NDArray[np.float32]]
    images: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]

    def request(
        self, folder: Path, precision: str = "fp32", batch: int = 1, **changes: Any
    ) -> ExportRequest:
        """An export of it."""
        folder.mkdir(parents=True, exist_ok=True)
        request = ExportRequest(
            model=self.model,
            detector=Detector(names=("a", "b", "c")),
            precision=precision,
            device="cpu",
            imgsz=Size.of(IMGSZ),
            batch=batch,
            folder=folder,
            calibration=(lambda: self.calibration) if precision == "int8" else None,
            float_nodes=FLOAT_NODES,
        )
        return dataclasses.replace(request, **changes)


@pytest.fixture(scope="session")
def detector() -> SmallDetector:
    """The small detector, its batch statistics settled and its scores spread over (0, 1)."""
    torch = pytest.importorskip("torch")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    torch.manual_seed(0)
    model = tasks.DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    images = torch.nn.functional.interpolate(
        torch.rand(12, 3, 8, 8), size=(IMGSZ, IMGSZ), mode="bilinear"
    )
    with torch.no_grad():
        model.train()
        for start in (0, 4, 8) * 4:
            model(images[start : start + 4])
        head = model.model[-1]
        for branches, spread in ((head.cv2, 2), (head.cv3, 8)):
            for branch in branches:
                branch[-1].weight.mul_(spread)
                branch[-1].bias.zero_()
        model.eval().fuse(verbose=False)
        head.export, head.format = True, "onnx"
        expected = copy.deepcopy(model)(images[:2]).numpy()
    return SmallDetector(
        model=lambda: copy.deepcopy(model),
        calibration=[image[None].numpy() for image in images[2:]],
        images=images[:2].numpy(),
        expected=expected,
    )


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., str]:
    """Run code in a fresh interpreter that finds this checkout; gives what it printed."""

    def run(code: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env={**os.environ, **(environment or {})},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every package is there, at one version, whatever this interpreter has."""
    monkeypatch.setattr(packages, "installed_version", lambda *names: "2.14")
    monkeypatch.setattr(packages, "missing", lambda names: ())
