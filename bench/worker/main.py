"""The worker: one fresh process that loads one artifact and measures it.

Python 3.10, numpy and one runtime; Pillow for the end-to-end pass where it is there. Jobs come from
``bench.run.launch``, from ``bench.gate.pairing`` and, to ask what a backend can do, from
``bench.machine.probing``.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import waiting
from deploymark.backends.base import (
    Artifact,
    Backend,
    BackendError,
    LoadOptions,
    Session,
    Setting,
    UnavailableError,
)
from deploymark.backends.registry import resolve
from deploymark.bench.children.child import Message, Send, next_command, phase, serve
from deploymark.bench.worker.measure import conditions, energy, latency, memory, placement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TIMED_IMAGES = 8
"""Images that the timed inferences take in turn: a few, so that they add little to the memory."""


def _resolved_options(asked: list[Message]) -> list[Message]:
    """Export options with their defaults, or why they cannot be."""
    answers: list[Message] = []
    for item in asked:
        try:
            backend = resolve(item["spec"])
            options = dict(backend.resolve_options(item["precision"], item["options"]))
            answers.append({"options": options})
        except BackendError as error:
            answers.append({"error": error.message, "remedy": error.remedy})
    return answers


def probe(job: Message) -> Message:
    """What the named backends can do in this interpreter, and what their options come to."""
    answers: list[Message] = []
    for name, spec in job["backends"].items():
        try:
            backend = resolve(spec)
        except UnavailableError as error:
            answers.append(
                {"name": name, "installed": False, "reason": error.message, "remedy": error.remedy}
            )
            continue
        found = backend.probe()
        services = [
            {"device": device, "precision": precision, **dataclasses.asdict(service)}
            for (device, precision), service in found.services.items()
        ]
        answers.append(
            {
                "name": name,
                "installed": found.installed,
                "version": found.version,
                "can_export": found.can_export,
                "reason": found.reason,
                "remedy": found.remedy,
                "services": services,
                "export_packages": list(backend.export_packages),
                "runtime_packages": list(backend.runtime_packages),
                "extra": backend.extra,
                "default_device": backend.default_device,
                "artifact_endings": list(backend.artifact_endings),
                "portable": backend.portable,
            }
        )
    return {"probes": answers, "options": _resolved_options(job["options"])}


def describe(job: Message) -> Message:
    """What an exported file that was made elsewhere says of itself."""
    backend = resolve(job["spec"])
    path = Path(job["path"])
    with phase("load_failed", f"{path.name} cannot be read"):
        facts = backend.describe(path)
    return {
        "folder": str(facts.artifact.folder),
        "entry": facts.artifact.entry,
        "files": list(facts.files),
        "input_shape": list(facts.input_shape),
        "layout": facts.layout,
        "classes": facts.classes,
        "names": list(facts.names),
        "stride": facts.stride,
        "precision": facts.precision,
    }


def _import_runtime(modules: list[str]) -> float:
    """Import the runtime; milliseconds."""
    import importlib

    started = time.perf_counter_ns()
    for module in modules:
        importlib.import_module(module)
    return (time.perf_counter_ns() - started) / 1e6


def _batch(prepared: npt.NDArray[np.uint8], start: int, batch: int) -> npt.NDArray[np.float32]:
    """``batch`` images from ``start`` on, going round at the end, as a session takes them."""
    from deploymark.bench.worker.letterbox import to_input

    count = len(prepared)
    chosen = [(start + offset) % count for offset in range(batch)]
    return to_input(prepared[chosen])


def _timed_inputs(prepared: npt.NDArray[np.uint8], batch: int) -> list[npt.NDArray[np.float32]]:
    count = min(max(1, TIMED_IMAGES // batch), len(prepared))
    return [_batch(prepared, index * batch, batch) for index in range(count)]


def _end_to_end(session: Session, job: Message) -> tuple[list[int], str]:
    """Nanoseconds from image file to boxes, for each batch; and why there are none."""
    settings = job["measure"]
    if settings["e2e_iterations"] == 0:
        return [], "the matrix asks for no end-to-end inferences"
    try:
        import PIL  # noqa: F401 - asked here so that a missing decoder is no failure
    except ImportError:
        return [], "Pillow is not installed in the worker's interpreter"
    import numpy as np

    from deploymark.bench.worker.detections import DEPLOYMENT_CONFIDENCE, decode
    from deploymark.bench.worker.letterbox import letterbox, read_rgb, to_input

    batch, imgsz = job["batch"], job["imgsz"]
    paths = [Path(path) for path in job["e2e_images"]]
    starts = [index * batch for index in range(max(1, len(paths) // batch))]

    def image_to_boxes(start: int) -> object:
        chosen = [paths[(start + offset) % len(paths)] for offset in range(batch)]
        pixels = np.stack([letterbox(read_rgb(path), imgsz) for path in chosen])
        raw = session.infer(to_input(pixels))
        return decode(raw, job["layout"], conf=DEPLOYMENT_CONFIDENCE)

    image_to_boxes(starts[0])
    times = latency.timed(
        image_to_boxes,
        starts,
        seconds=0.0,
        min_iterations=settings["e2e_iterations"],
        max_iterations=settings["e2e_iterations"],
        max_s=settings["latency_max_s"],
    )
    return times, ""


def _detections(session: Session, job: Message, prepared: Any, send: Send) -> None:
    """Infer on every scored image and save the boxes."""
    from deploymark.bench.worker.detections import SCORING_CONFIDENCE, decode, save_detections

    batch, count = job["batch"], len(prepared)
    found: list[Any] = []
    for start in range(0, count, batch):
        raw = session.infer(_batch(prepared, start, batch))
        found += decode(raw, job["layout"], conf=SCORING_CONFIDENCE, multi_label=True)
        if start % (batch * 16) == 0:
            send({"event": "progress", "phase": "score", "done": start, "total": count})
    save_detections(Path(job["predictions"]), found[:count])


@dataclasses.dataclass
class Opened:
    """A loaded artifact and what it was measured to cost so far. Times in milliseconds.

    ``settings`` are the runtime options with every default explicit, ``giving_way`` those under
    which threads give way. ``inputs`` are the images that timed inferences take in turn,
    ``prepared`` all of them: uint8 (images, imgsz, imgsz, 3).
    """

    session: Session
    settings: dict[str, Setting]
    giving_way: Mapping[str, Setting]
    inputs: list[npt.NDArray[np.float32]]
    prepared: npt.NDArray[np.uint8]
    import_ms: float
    load_ms: float
    rss_before: int | None

    def all_settings(self) -> dict[str, Setting]:
        """What the session runs with: its options, and what the runtime tells of itself."""
        return {**self.session.settings(), **self.settings}


def _set_up(backend: Backend, options: LoadOptions) -> dict[str, Setting]:
    """Make the environment what the cell's runtime options say; gives them resolved.

    Before anything is imported that computes: libraries read these variables when they are loaded,
    and those that the user's shell has are of no cell.
    """
    settings = backend.resolve_runtime_options(options)
    waiting.forget()
    os.environ.update(backend.runtime_environment(settings))
    return settings


def open_session(job: Message, send: Send, *, give_way: bool = False) -> Opened:
    """Import the runtime and load the artifact, as every job that infers begins.

    ``give_way`` changes the runtime options to those under which threads give way to others.
    """
    backend = resolve(job["spec"])
    batch, imgsz = job["batch"], job["imgsz"]
    options = LoadOptions(
        device=job["device"],
        precision=job["precision"],
        threads=job["threads"],
        input_shape=(batch, 3, imgsz, imgsz),
        options=job["runtime_options"],
    )
    if give_way:
        options = dataclasses.replace(options, options={**options.options, **backend.giving_way})
    chosen = _set_up(backend, options)
    import numpy as np

    prepared = np.load(job["images"], mmap_mode="r")
    inputs = _timed_inputs(prepared, batch)
    with phase("load_failed", "importing the runtime failed"):
        import_ms = _import_runtime(list(backend.runtime_modules))
    rss_before = memory.rss_bytes()
    artifact = Artifact(folder=Path(job["artifact"]), entry=job["entry"])
    send({"event": "progress", "phase": "load"})
    with phase("load_failed", "loading failed"):
        started = time.perf_counter_ns()
        session = backend.load(artifact, options)
        load_ms = (time.perf_counter_ns() - started) / 1e6
    return Opened(
        session, chosen, backend.giving_way, inputs, prepared, import_ms, load_ms, rss_before
    )


def measure(job: Message, send: Send) -> Message:
    """One launch: every pass, one after the other, each with its own figures."""
    settings, batch = job["measure"], job["batch"]
    opened = open_session(job, send)
    session, inputs, prepared = opened.session, opened.inputs, opened.prepared
    with phase("crashed", "inference failed"):
        cold_ns = latency.time_once_ns(lambda: session.infer(inputs[0]))
        send({"event": "progress", "phase": "warm-up"})
        watch = conditions.Watch(device=job["device"])
        warmed = latency.warm_up(session.infer, inputs, max_s=settings["warmup_max_s"])
        watch.start()
        times = latency.timed(
            session.infer,
            inputs,
            seconds=settings["latency_s"],
            min_iterations=settings["min_iterations"],
            max_iterations=settings["max_iterations"],
            max_s=settings["latency_max_s"],
        )
        watch.pause()
        rss_after, peak = memory.rss_bytes(), memory.peak_rss_bytes()
        during = watch.read()
        device_memory = session.device_memory_bytes()
        e2e, e2e_reason = _end_to_end(session, job)
        power = energy.find_meter().measure(lambda: session.infer(inputs[0]), batch)
        apart = bool(job["predictions"]) and _is_scored_apart(opened, job, times, during)
        if job["predictions"] and not apart:
            _detections(session, job, prepared, send)
        executed = session.executed_precision() if job["inspect"] else None
        runtime_settings = opened.all_settings()
    return {
        "score_apart": apart,
        "import_ms": opened.import_ms,
        "load_ms": opened.load_ms,
        "cold_ms": cold_ns / 1e6,
        "warmup": dataclasses.asdict(warmed),
        "latency_ns": times,
        "conditions": during,
        "e2e_ns": e2e,
        "e2e_reason": e2e_reason,
        "peak_rss_bytes": peak,
        "model_rss_bytes": _difference(rss_after, opened.rss_before),
        "device_memory_bytes": device_memory,
        "energy": dataclasses.asdict(power),
        "runtime_settings": runtime_settings,
        "executed_precision": None
        if executed is None
        else {**dataclasses.asdict(executed), "layers": dict(executed.layers)},
    }


def _is_scored_apart(opened: Opened, job: Message, times: list[int], during: Message) -> bool:
    """Whether the scored images would take too long here, and less where threads give way.

    Threads that spin for each other while another process has their processor take a hundred times
    as long: that is a figure, but no reason to spend minutes on the boxes, which do not depend on
    it.
    """
    load = during["foreign_load_cores"]
    if load is None or load <= job["contended_cores"]:
        return False
    batches = len(opened.prepared) / job["batch"]
    estimate_s = statistics.median(times) / 1e9 * batches
    gives_way = any(
        opened.settings.get(name, value) != value for name, value in opened.giving_way.items()
    )
    return gives_way and estimate_s > job["score_apart_s"]


def score(job: Message, send: Send) -> Message:
    """The boxes alone, in a process whose threads give way to others."""
    opened = open_session(job, send, give_way=True)
    with phase("crashed", "inference failed"):
        _detections(opened.session, job, opened.prepared, send)
    return {}


def pair(job: Message, send: Send) -> Message:
    """One side of a live pair: bursts of timed inferences when told, until told to end.

    Where the memory of a loaded model falls makes it faster or slower by a per cent, so the parent
    has it loaded several times, and the bursts take the copies in turn. Memory is read before there
    is a second copy, energy when the bursts are over and only where this side is told to: the other
    side rests meanwhile. ``conditions`` are those of this side's bursts alone. Both sides infer on
    the processors ``cpus``.
    """
    confined = placement.confine(job["cpus"])
    opened = open_session(job, send)
    session, inputs = opened.session, opened.inputs
    with phase("crashed", "inference failed"):
        cold_ns = latency.time_once_ns(lambda: session.infer(inputs[0]))
        watch = conditions.Watch(device=job["device"])
        before = conditions.thread_times()
        warmed = latency.warm_up(session.infer, inputs, max_s=job["measure"]["warmup_max_s"])
        copies = [session]
        busy = [placement.busiest(before, conditions.thread_times())]
        paced = latency.burst(session.infer, inputs, len(inputs))
        rss_after, peak = memory.rss_bytes(), memory.peak_rss_bytes()
        device_memory = session.device_memory_bytes()
        send(
            {
                "event": "reply",
                "cold_ms": cold_ns / 1e6,
                "load_ms": opened.load_ms,
                "warmup": dataclasses.asdict(warmed),
                "latency_ns": paced,
                "peak_rss_bytes": peak,
                "model_rss_bytes": _difference(rss_after, opened.rss_before),
            }
        )
        for _ in range(next_command()["copies"] - 1):
            copies.append(open_session(job, send).session)
            before = conditions.thread_times()
            latency.warm_up(copies[-1].infer, inputs, max_s=job["measure"]["warmup_max_s"])
            busy.append(placement.busiest(before, conditions.thread_times()))
        # Last, because threads that a bound thread starts are bound as it is.
        placed = confined and placement.place(job["cpus"], busy)
        send({"event": "reply", "placed": placed})
        turns = itertools.cycle(copies)
        with latency.no_collection():
            while (command := next_command())["do"] == "burst":
                infer = next(turns).infer
                watch.start()
                times = latency.burst(infer, inputs, command["iterations"])
                watch.pause()
                send({"event": "reply", "latency_ns": times})
        during = watch.read()
        power = energy.find_meter().measure(lambda: session.infer(inputs[0]), job["batch"])
    return {
        "conditions": during,
        "device_memory_bytes": device_memory,
        "energy": dataclasses.asdict(power),
    }


def scenario(job: Message, send: Send) -> Message:
    """One scenario of MLPerf's LoadGen with so many sessions at once; its logs tell the figures."""
    from deploymark.bench.worker.measure import loadgen, streams

    loadgen.check_installed()
    opened = [open_session(job, send) for _ in range(job["streams"])]
    first = opened[0]
    send({"event": "progress", "phase": job["scenario"]["kind"]})
    watch = conditions.Watch(device=job["device"])
    with phase("crashed", "inference failed"):
        told = loadgen.run(
            [item.session for item in opened],
            streams.Samples(first.prepared),
            first.inputs,
            job["scenario"],
            seed=job["seed"],
            warmup_max_s=job["measure"]["warmup_max_s"],
            folder=Path(job["folder"]),
            watch=watch,
        )
    return {
        **told,
        "conditions": watch.read(),
        "load_ms": first.load_ms,
        "peak_rss_bytes": memory.peak_rss_bytes(),
    }


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else max(0, after - before)


def work(job: Message, send: Send) -> Message:
    """Do what the job asks."""
    if job["kind"] == "probe":
        return probe(job)
    if job["kind"] == "describe":
        return describe(job)
    if job["kind"] == "pair":
        return pair(job, send)
    if job["kind"] == "score":
        return score(job, send)
    if job["kind"] == "scenario":
        return scenario(job, send)
    return measure(job, send)


if __name__ == "__main__":
    serve(work)
