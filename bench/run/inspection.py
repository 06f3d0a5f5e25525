"""What a checkpoint holds, found out in a build child once and kept in the store."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from deploymark.backends.base import Detector
from deploymark.bench.build.artifacts import exporter_source_hash
from deploymark.bench.build.making import BUILD_CHILD
from deploymark.bench.children.spawn import run_child
from deploymark.bench.errors import BadInputError
from deploymark.bench.progress import Say
from deploymark.bench.store import Store, digest

_INSPECT_TIMEOUT_S = 300.0


def inspected(
    path: Path, sha256: str, imgsz: int, head: str, store: Store, say: Say, log: Path
) -> Detector:
    """The detector of a checkpoint at ``imgsz`` (pixels), ``sha256`` being the checkpoint's.

    Raises BadInputError where it cannot be opened.
    """
    key = digest({"model": sha256, "imgsz": imgsz, "head": head, "source": exporter_source_hash()})
    values = store.read_inspection(key)
    if values is None:
        if importlib.util.find_spec("ultralytics") is None:
            raise BadInputError(
                f"{path}: opening a checkpoint needs Ultralytics, which is not installed",
                remedy="pip install 'deploymark[torch]', or copy a cache that knows the checkpoint",
            )
        say(f"{path.name}: opening the checkpoint at {imgsz} px")
        job = {"kind": "inspect", "model": str(path), "imgsz": imgsz, "head": head}
        end = run_child(BUILD_CHILD, job, timeout_s=_INSPECT_TIMEOUT_S, log=log)
        if end.result is None:
            raise BadInputError(
                f"{path}: the checkpoint cannot be opened: {end.outcome.reason}",
                remedy=end.outcome.remedy,
            )
        found: dict[str, Any] = end.result["detector"]
        store.write_inspection(key, found)
        values = found
    # What only files made elsewhere can be told otherwise is the default of a checkpoint.
    plain = {key: value for key, value in values.items() if key not in ("spec", "told")}
    return Detector(**{**plain, "names": tuple(values["names"])})
