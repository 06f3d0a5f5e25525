"""The build child: opens a model, carries out the recipe, exports one artifact.

The only process that opens a ``.pt``, which is a pickle and runs code when it is opened, and that
calls loaders, which are code.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from deploymark.backends.base import (
    QAT_PRECISION,
    ExportRequest,
    InputSpec,
    Size,
    UnsupportedError,
)
from deploymark.backends.registry import resolve
from deploymark.bench.children.child import Message, Send, phase, serve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


CHECKPOINT = "model.pt"
"""The file that a step of a recipe leaves."""


def _inspect(job: Message, _send: Send) -> Message:
    """What a model holds."""
    from deploymark.bench.matrix.model_source import ModelSource
    from deploymark.bench.variants.sources.models import describe, open_model

    size = Size.of(job["imgsz"])
    detector = describe(open_model(ModelSource.read(job["model"]), size), size)
    return {"detector": dataclasses.asdict(detector)}


def _calibration_images(path: str, spec: InputSpec) -> list[npt.NDArray[np.float32]]:
    import numpy as np

    from deploymark.bench.worker.letterbox import to_input

    prepared = np.load(path, mmap_mode="r")
    return [to_input(prepared[index : index + 1], spec) for index in range(len(prepared))]


def _export(job: Message, send: Send) -> Message:
    from deploymark.bench.matrix.model_source import ModelSource
    from deploymark.bench.variants.sources.models import describe, factory, open_model

    backend, size = resolve(job["spec"]), Size.of(job["imgsz"])
    send({"event": "progress", "phase": "open the checkpoint"})
    with phase("export_failed", "opening the checkpoint failed"):
        model = open_model(
            ModelSource.read(job["model"]), size, fake_quantized=job["precision"] == QAT_PRECISION
        )
        detector = describe(model, size)
    images, spec = job["calibration"], detector.spec
    request = ExportRequest(
        model=factory(model),
        detector=detector,
        precision=job["precision"],
        device=job["device"],
        imgsz=size,
        batch=job["batch"],
        folder=Path(job["folder"]),
        calibration=None if images is None else lambda: _calibration_images(images, spec),
        float_nodes=model.float_nodes,
        options=job["options"],
    )
    _check_batch(request)
    send({"event": "progress", "phase": "export"})
    with phase("export_failed", "exporting failed"):
        artifact = backend.export(request)
    return {
        "entry": artifact.entry,
        "detector": dataclasses.asdict(detector),
        "notes": list(artifact.notes),
    }


def _check_batch(request: ExportRequest) -> None:
    """Raise UnsupportedError for a batch that the output contract has no room for."""
    if request.batch > 1 and request.detector.output.layout == "torchvision":
        raise UnsupportedError(
            "torchvision's detectors give any number of boxes an image, so that a batch of them "
            "has no shape",
            remedy="Take batch: [1].",
        )


def _variant(job: Message, send: Send) -> Message:
    """One step of a recipe: ``model.pt`` in ``folder``, and what is known of it."""
    import copy

    from pydantic import TypeAdapter

    from deploymark.bench.data.training_data import TrainingData
    from deploymark.bench.matrix.steps import Step
    from deploymark.bench.variants.apply import StepContext, run_step
    from deploymark.bench.variants.checkpoint import (
        describe,
        exportable,
        load_detector,
        save_detector,
        training_imgsz,
    )

    step: Step = TypeAdapter(Step).validate_python(job["step"])
    with phase("export_failed", "opening the checkpoint failed"):
        module = load_detector(Path(job["model"]))
    imgsz = training_imgsz(module)
    context = StepContext(
        original=Path(job["original"]),
        imgsz=imgsz,
        seed=job["seed"],
        data=None if job["data"] is None else TrainingData.read(Path(job["data"])),
        folder=Path(job["scratch"]),
        say=lambda what: send({"event": "progress", "phase": what}),
        head=job["head"],
    )
    with phase("export_failed", f"the step {step.kind} failed"):
        module, record = run_step(module, step, context)
    target = Path(job["folder"]) / CHECKPOINT
    save_detector(module, target)
    detector = describe(exportable(copy.deepcopy(module), imgsz, head=job["head"]), imgsz)
    return {
        "entry": CHECKPOINT,
        "detector": dataclasses.asdict(detector),
        "record": {"imgsz": imgsz, **record},
    }


_WORK = {"export": _export, "inspect": _inspect, "variant": _variant}


def work(job: Message, send: Send) -> Message:
    """Do what the job asks."""
    return _WORK[job["kind"]](job, send)


if __name__ == "__main__":
    serve(work)
