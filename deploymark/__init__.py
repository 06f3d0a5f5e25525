"""Deploymark: which format should this object detector ship in, on this hardware?

The package's face, and no more than that. Nothing is imported before it is asked for: every pytest
run of the environment comes by here (the plugin), and so do workers, under interpreters that have
numpy and one runtime only (see ``bench.worker.main``).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploymark.bench.choose.choose import choose
    from deploymark.bench.records.frames import cells_frame, launches_frame, samples_frame
    from deploymark.bench.records.run import load_run

_HERE = Path(__file__).resolve().parent
if not (_HERE / "bench").is_dir() and (_HERE.parent / "bench" / "worker").is_dir():
    # A checkout that is on the module path by itself: the folders stand beside this one.
    __path__.append(str(_HERE.parent))

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "cells_frame",
    "choose",
    "launches_frame",
    "load_run",
    "samples_frame",
]

_HOMES = {
    "cells_frame": "deploymark.bench.records.frames",
    "choose": "deploymark.bench.choose.choose",
    "launches_frame": "deploymark.bench.records.frames",
    "load_run": "deploymark.bench.records.run",
    "samples_frame": "deploymark.bench.records.frames",
}


def __getattr__(name: str) -> Any:
    """A name of the face, imported when it is asked for (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
