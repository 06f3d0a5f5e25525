"""The command line as a user runs it, in a process of its own, and folders of runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from deploymark.backends import registry
from deploymark.backends.inputs import Size
from deploymark.bench.gate.pairing import Measurable
from deploymark.bench.matrix import plugin_steps
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.sections import Limits, Measure
from deploymark.bench.store import StoredArtifact
from tests.run_series import MakeRun, run_maker

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"


class CommandLine:
    """``deploymark`` in a folder of its own, with the test's artifact store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        # a pytest that it starts is no worker of ours
        own = {name: value for name, value in os.environ.items() if "XDIST" not in name}
        return {**own, **(extra or {})}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "deploymark", *arguments]

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 600
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @property
    def latest(self) -> Path:
        return self.folder / "results" / "latest"


@pytest.fixture
def deploymark(tmp_path: Path) -> CommandLine:
    folder = tmp_path / "work"
    folder.mkdir()
    return CommandLine(folder)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder that runs are written to."""
    return tmp_path / "results"


@pytest.fixture
def make_run(results: Path) -> MakeRun:
    """Writes the run of one day to ``results``."""
    return run_maker(results)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``tests/plugins`` as installed, here and in children."""
    path = os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(str(PLUGINS))
    for found in (registry.specs, plugin_steps.brought):
        found.cache_clear()
    yield PLUGINS
    for found in (registry.specs, plugin_steps.brought):
        found.cache_clear()


@pytest.fixture
def side(tmp_path: Path, plugins: Path) -> Measurable:
    """What a worker measures of the backend in ``tests/plugins``, which computes nothing."""
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((4, 32, 32, 3), dtype=np.uint8))
    (tmp_path / "weights.bin").write_bytes(b"\0")
    cell = Cell(
        "m",
        "dense",
        "fp32",
        "misbehaving",
        "cpu",
        Size.of(32),
        1,
        1,
        measure=Measure(warmup_max_s=0.2),
        limits=Limits(launch_timeout_s=20),
    )
    artifact = StoredArtifact(tmp_path, "weights.bin", "0" * 64, 1, 1, {}, {}, {}, 0.0)
    return Measurable(cell, 1, artifact, images)
