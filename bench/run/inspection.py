"""What a checkpoint holds, found out in a build child once and kept in the store."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from deploymark.backends.base import Detector, Size
from deploymark.bench.build.artifacts import exporter_source_hash
from deploymark.bench.build.making import BUILD_CHILD
from deploymark.bench.children.spawn import run_child
from deploymark.bench.errors import BadInputError
from deploymark.bench.machine.probing import package_versions
from deploymark.bench.matrix.model_source import PACKAGES, ModelSource, SourceKind
from deploymark.bench.progress import Say
from deploymark.bench.store import Store, digest

_INSPECT_TIMEOUT_S = 300.0

_OPENERS: dict[SourceKind, tuple[str, str, str]] = {
    "ultralytics": ("ultralytics", "Ultralytics", "torch"),
    "hugging-face": ("transformers", "transformers", "transformers"),
    "torchvision": ("torchvision", "torchvision", "torch"),
    "loader": ("torch", "PyTorch", "torch"),
}
"""What opens each kind: its module, what people call it, and the extra that installs it."""


def can_open(source: ModelSource) -> bool:
    """Whether what opens a model is installed here."""
    return importlib.util.find_spec(_OPENERS[source.kind][0]) is not None


def inspected(
    source: ModelSource, sha256: str, size: Size, store: Store, say: Say, log: Path
) -> Detector:
    """The detector of a model at a size, ``sha256`` being the model's.

    Raises BadInputError where it cannot be opened.
    """
    key = digest(
        {
            "model": sha256,
            "imgsz": list(size),
            "head": source.head,
            "source": exporter_source_hash(),
            **package_versions(PACKAGES[source.kind]),
        }
    )
    values = store.read_inspection(key)
    if values is None:
        if not can_open(source):
            _, name, extra = _OPENERS[source.kind]
            raise BadInputError(
                f"{source.told}: opening it needs {name}, which is not installed",
                remedy=f"pip install 'deploymark[{extra}]', or copy a cache that knows the model",
            )
        say(f"{Path(source.told).name}: opening the checkpoint at {size} px")
        job = {"kind": "inspect", "model": dataclasses.asdict(source), "imgsz": list(size)}
        end = run_child(BUILD_CHILD, job, timeout_s=_INSPECT_TIMEOUT_S, log=log)
        if end.result is None:
            raise BadInputError(
                f"{source.told}: the model cannot be opened: {end.outcome.reason}",
                remedy=end.outcome.remedy,
            )
        found: dict[str, Any] = end.result["detector"]
        store.write_inspection(key, found)
        values = found
    return Detector.read(values)
