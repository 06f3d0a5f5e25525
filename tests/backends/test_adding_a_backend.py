"""The backend of docs/adding-a-backend.md is the one in ``tests/plugins``, and fits a matrix."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"
PAGE = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
LONGEST = 80


def block(language: str) -> str:
    """The page's one block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_page_shows_the_file_that_is_tested() -> None:
    code = (PLUGINS / "pocket.py").read_text(encoding="utf-8")
    assert block("python") == code
    assert len(code.splitlines()) <= LONGEST


def test_the_page_registers_it_as_its_metadata_does() -> None:
    points = (PLUGINS / "pocket-1.0.dist-info" / "entry_points.txt").read_text(encoding="utf-8")
    group, entry = points.split("\n", 1)
    assert f'[project.entry-points."{group.strip("[]")}"]' in block("toml")
    assert entry.strip() in block("toml").replace('"', "")


@pytest.mark.heavy
def test_the_matrix_of_the_page_is_one(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "pocket.yaml").write_text(block("yaml"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "deploymark", "list", "pocket.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for cell in ("onnxruntime-cpu-160", "pocket-cpu-160-fuse_true", "pocket-cpu-160-fuse_false"):
        assert f"digits-dense-fp32-{cell}" in done.stdout
