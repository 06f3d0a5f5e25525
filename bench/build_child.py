"""The build child: opens a checkpoint, carries out the recipe, exports one artifact.

The only process that opens a ``.pt``, which is a pickle and runs code when it is opened.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from backends.base import ExportRequest
from backends.registry import resolve
from bench.child import Message, Send, phase, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt


def _inspect(job: Message) -> Message:
    """What a checkpoint holds."""
    from bench.checkpoint import inspect_checkpoint

    detector = inspect_checkpoint(Path(job["model"]), job["imgsz"], head=job["head"])
    return {"detector": dataclasses.asdict(detector)}


def _calibration_images(path: str) -> list[npt.NDArray[np.float32]]:
    import numpy as np

    from bench.letterbox import to_input

    prepared = np.load(path, mmap_mode="r")
    return [to_input(prepared[index : index + 1]) for index in range(len(prepared))]


def _export(job: Message, send: Send) -> Message:
    from pydantic import TypeAdapter

    from bench.checkpoint import describe, float_nodes, model_factory
    from bench.variants.steps import Step

    backend = resolve(job["spec"])
    steps: Sequence[Step] = TypeAdapter(tuple[Step, ...]).validate_python(job["steps"])
    send({"event": "progress", "phase": "open the checkpoint"})
    path = Path(job["model"])
    with phase("export_failed", "opening the checkpoint failed"):
        factory = model_factory(path, steps, job["imgsz"], head=job["head"])
        module = factory()
        detector, nodes = describe(module, job["imgsz"]), float_nodes(module)
        del module
    images = job["calibration"]
    request = ExportRequest(
        model=factory,
        detector=detector,
        precision=job["precision"],
        device=job["device"],
        imgsz=job["imgsz"],
        batch=job["batch"],
        folder=Path(job["folder"]),
        calibration=None if images is None else lambda: _calibration_images(images),
        float_nodes=nodes,
        options=job["options"],
    )
    send({"event": "progress", "phase": "export"})
    with phase("export_failed", "exporting failed"):
        artifact = backend.export(request)
    return {
        "entry": artifact.entry,
        "detector": dataclasses.asdict(detector),
        "notes": list(artifact.notes),
    }


def work(job: Message, send: Send) -> Message:
    """Do what the job asks."""
    return _inspect(job) if job["kind"] == "inspect" else _export(job, send)


if __name__ == "__main__":
    serve(work)
