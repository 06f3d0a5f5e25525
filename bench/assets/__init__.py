"""The embedded default detector: a handwritten-digit YOLO11n and the images it is scored on.

Importing this package costs nothing: it names the folder and reads none of it. How the
files were made is in ``make_digits``, ``compose_digits`` and ``train_digits``, which are never
imported here.
"""

from __future__ import annotations

from pathlib import Path


def digits_dir() -> Path:
    """Return the folder holding ``digits.pt``, ``data.yaml``, ``images/`` and ``labels/``."""
    return Path(__file__).resolve().parent / "digits"
