"""The worker: one fresh process that loads one artifact and measures it.

Python 3.10, numpy and one runtime; Pillow for the end-to-end pass where it is there. Jobs come from
``bench.run.launch``, from ``bench.gate.pairing`` and, to ask what a backend can do, from
``bench.machine.probing``.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deploymark.backends.base import Session
from deploymark.bench.children.child import Message, Send, phase, serve
from deploymark.bench.worker.answers import describe, probe
from deploymark.bench.worker.energy_pass import energy_pass
from deploymark.bench.worker.measure import bursts, conditions, latency, memory
from deploymark.bench.worker.pair import pair
from deploymark.bench.worker.profile_pass import profile_pass
from deploymark.bench.worker.session import Opened, batch_of, input_spec, open_session, output_spec
from deploymark.bench.worker.weigh import weigh


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

    batch, spec, output = job["batch"], input_spec(job), output_spec(job)
    paths = [Path(path) for path in job["e2e_images"]]
    starts = [index * batch for index in range(max(1, len(paths) // batch))]

    def image_to_boxes(start: int) -> object:
        chosen = [paths[(start + offset) % len(paths)] for offset in range(batch)]
        pixels = np.stack([letterbox(read_rgb(path), spec) for path in chosen])
        raw = session.infer(to_input(pixels, spec))
        return decode(raw, output, spec.size, conf=DEPLOYMENT_CONFIDENCE)

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


def _detections(session: Session, job: Message, prepared: Any, send: Send) -> Message:
    """Infer on every scored image and save the boxes; what the outputs look like."""
    from deploymark.bench.worker.detections import SCORING_CONFIDENCE, decode, save_detections
    from deploymark.bench.worker.outputs import OutputCheck

    batch, count = job["batch"], len(prepared)
    spec, output = input_spec(job), output_spec(job)
    check = OutputCheck(output, spec.size)
    found: list[Any] = []
    for start in range(0, count, batch):
        raw = session.infer(batch_of(prepared, start, batch, spec))
        boxes = decode(raw, output, spec.size, conf=SCORING_CONFIDENCE, multi_label=True)
        boxes = boxes[: count - start]
        check.add(raw, boxes)
        found += boxes
        if start % (batch * 16) == 0:
            send({"event": "progress", "phase": "score", "done": start, "total": count})
    save_detections(Path(job["predictions"]), found)
    return dataclasses.asdict(check.facts())


def measure(job: Message, send: Send) -> Message:
    """One launch: every pass, one after the other, each with its own figures."""
    settings = job["measure"]
    opened = open_session(job, send)
    session, inputs, prepared = opened.session, opened.inputs, opened.prepared
    with phase("crashed", "inference failed"):
        cold_ns = latency.time_once_ns(lambda: session.infer(inputs[0]))
        send({"event": "progress", "phase": "warm-up"})
        watch = conditions.Watch(device=job["device"])
        warmed = latency.warm_up(session.infer, inputs, max_s=settings["warmup_max_s"])
        timed = bursts.timed(
            session.infer,
            inputs,
            watch,
            job["burst_limits"],
            seconds=settings["latency_s"],
            min_iterations=settings["min_iterations"],
            max_iterations=settings["max_iterations"],
            max_s=settings["latency_max_s"],
        )
        timed.add_to(watch)
        times = timed.counted_ns
        rss_after, peak = memory.rss_bytes(), memory.peak_rss_bytes()
        during = watch.read()
        device_memory = session.device_memory_bytes()
        e2e, e2e_reason = _end_to_end(session, job)
        apart = bool(job["predictions"]) and _is_scored_apart(opened, job, times, during)
        boxes_ns, outputs = 0, None
        if job["predictions"] and not apart:
            started_ns = time.perf_counter_ns()
            outputs = _detections(session, job, prepared, send)
            boxes_ns = time.perf_counter_ns() - started_ns
        executed = session.executed_precision() if job["inspect"] else None
        runtime_settings = opened.all_settings()
    return {
        "score_apart": apart,
        "import_ms": opened.import_ms,
        "load_ms": opened.load_ms,
        "cold_ms": cold_ns / 1e6,
        "warmup": dataclasses.asdict(warmed),
        "latency_ns": times,
        **timed.told(),
        "conditions": during,
        "e2e_ns": e2e,
        "boxes_s": boxes_ns / 1e9,
        "outputs": outputs,
        "e2e_reason": e2e_reason,
        "peak_rss_bytes": peak,
        "model_rss_bytes": opened.grown_bytes(rss_after),
        "device_memory_bytes": device_memory,
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
        outputs = _detections(opened.session, job, opened.prepared, send)
    return {"outputs": outputs}


def scenario(job: Message, send: Send) -> Message:
    """One scenario of MLPerf's LoadGen with so many sessions at once; its logs tell the figures."""
    from deploymark.bench.worker.letterbox import to_input
    from deploymark.bench.worker.measure import loadgen, streams

    loadgen.check_installed()
    opened = [open_session(job, send) for _ in range(job["streams"])]
    first = opened[0]
    send({"event": "progress", "phase": job["scenario"]["kind"]})
    watch = conditions.Watch(device=job["device"])
    with phase("crashed", "inference failed"):
        told = loadgen.run(
            [item.session for item in opened],
            streams.Samples(first.prepared, partial(to_input, spec=input_spec(job))),
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


_JOBS: dict[str, Callable[[Message, Send], Message]] = {
    "probe": lambda job, _: probe(job),
    "describe": lambda job, _: describe(job),
    "measure": measure,
    "score": score,
    "scenario": scenario,
    "energy": energy_pass,
    "memory": weigh,
    "profile": profile_pass,
    "pair": pair,
}


def work(job: Message, send: Send) -> Message:
    """Do what the job asks."""
    return _JOBS[job["kind"]](job, send)


if __name__ == "__main__":
    serve(work)
