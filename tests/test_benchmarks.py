"""Scripts that measure are run by hand: here they are seen to fit the package as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "benchmarks"

COLLECTED = ("gate_replay",)
"""Not a script, but tests that a script collects, with what they are about in the environment."""

SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in COLLECTED)

IMPORT = """
import importlib, sys, traceback
sys.path[:0] = sys.argv[1:3]
failed = []
for name in sys.argv[3:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {type(error).__name__}: {error}")
print("\\n".join(failed))
"""


@pytest.mark.heavy
def test_every_script_can_be_imported() -> None:
    """Each on its own does the same: what one takes from another is there."""
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(FOLDER), str(FOLDER.parents[1]), *SCRIPTS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout.strip(), done.stdout
