"""A third-party backend, found by its entry point, that fails where and how its options say.

Installed by putting this folder on the module path: its metadata lies beside it. Without options it
behaves, and finds no object in any image.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from deploymark.backends import base, waiting

HANG_S = 3600.0


def misbehave(options: Any, where: str) -> None:
    if options.get("where") != where:
        return
    how = options["how"]
    if how == "abort":
        os.abort()
    if how == "hang":
        time.sleep(HANG_S)
    if how == "memory":
        pages = []
        while True:
            pages.append(np.ones(1 << 24, dtype=np.uint8))
    raise RuntimeError(f"told to fail at {where}")


def vanish(options: Any, folder: Path) -> None:
    """Take the artifact away and fail, but once: as somebody who clears the store meanwhile."""
    if "vanished" in options and not (told := Path(options["vanished"])).exists():
        told.touch()
        shutil.rmtree(folder)
        raise RuntimeError("the file that was there is not")


class MisbehavingSession(base.Session):
    def __init__(self, options: base.LoadOptions) -> None:
        super().__init__(options.input_shape)
        self.options = options.options
        sys.stderr.write(f"waits {os.environ.get('OMP_WAIT_POLICY', 'as it likes')}\n")

    def infer_impl(self, images: Any) -> Any:
        misbehave(self.options, "infer")
        return np.zeros((images.shape[0], 14, 21), dtype=np.float32) + images.mean() * 0

    def settings(self) -> Any:
        return {"omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set")}

    def executed_precision(self) -> base.ExecutedPrecision:
        return base.ExecutedPrecision(reason="it computes nothing")


class MisbehavingBackend(base.Backend):
    name = "misbehaving"
    extra = ""
    portable = True
    giving_way = waiting.GIVING_WAY

    def probe(self) -> base.Probe:
        services = {
            ("cpu", "fp32"): base.Service(served=True),
            ("moon", "fp32"): base.Service(served=False, reason="this is the earth", remedy="Fly."),
        }
        return base.Probe(
            self.name, installed=True, version="1.0", can_export=True, services=services
        )

    def resolve_options(self, precision: str, options: Any) -> Any:
        return dict(options)

    def runtime_environment(self, settings: Any) -> Any:
        return waiting.ENVIRONMENT[settings.get("wait", "default")]

    def export(self, request: base.ExportRequest) -> base.Artifact:
        misbehave(request.options, "export")
        (request.folder / "weights.bin").write_bytes(b"\0" * 1024)
        return base.Artifact(request.folder, "weights.bin")

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        self.loads = getattr(self, "loads", 0) + 1
        vanish(options.options, artifact.folder)
        misbehave(options.options, "load" if self.loads == 1 else "reload")
        return MisbehavingSession(options)
