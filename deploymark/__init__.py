"""Deploymark: which format should this object detector ship in, on this hardware?

The package's face, and no more than that. Nothing is imported before it is asked for: every pytest
run of the environment comes by here (the plugin), and so do workers, under interpreters that have
numpy and one runtime only (see ``bench.worker.main``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploymark.bench.records.run import load_run

__version__ = "0.1.0"

__all__ = ["__version__", "load_run"]


def __getattr__(name: str) -> Any:
    """``load_run``, imported when it is asked for (PEP 562)."""
    if name == "load_run":
        from deploymark.bench.records.run import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
