"""One side of a live pair: two workers that infer in turns, told by the gate when."""

from __future__ import annotations

import dataclasses
import itertools

from deploymark.bench.children.child import Message, Send, next_command, phase
from deploymark.bench.worker.measure import (
    bursts,
    conditions,
    latency,
    memory,
    placement,
    settling,
)
from deploymark.bench.worker.session import open_session


def pair(job: Message, send: Send) -> Message:
    """One side of a live pair: bursts of timed inferences when told, until told to end.

    Where the memory of a loaded model falls makes it faster or slower by a per cent, so the parent
    has it loaded several times, and the bursts take the copies in turn. Memory is read before there
    is a second copy. ``conditions`` are those of this side's bursts alone. Both sides infer on
    the processors ``cpus``. A burst is answered when this process is at rest again: its threads
    would spin on the processors that the other side's burst is about to need. ``quiet`` says
    whether the counters found it undisturbed.
    """
    confined = placement.confine(job["cpus"])
    opened = open_session(job, send, rest=True)
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
                "rested": dict(opened.rested),
                "warmup": dataclasses.asdict(warmed),
                "latency_ns": paced,
                "peak_rss_bytes": peak,
                "model_rss_bytes": opened.grown_bytes(rss_after),
            }
        )
        for _ in range(next_command()["copies"] - 1):
            copies.append(open_session(job, send, rest=True).session)
            before = conditions.thread_times()
            latency.warm_up(copies[-1].infer, inputs, max_s=job["measure"]["warmup_max_s"])
            busy.append(placement.busiest(before, conditions.thread_times()))
        # Last, because threads that a bound thread starts are bound as it is.
        placed = confined and placement.place(job["cpus"], busy)
        settling.settle()
        send({"event": "reply", "placed": placed})
        turns = itertools.cycle(copies)
        with latency.no_collection():
            while (command := next_command())["do"] == "burst":
                infer = next(turns).infer
                watch.start()
                times = latency.burst(infer, inputs, command["iterations"])
                change = watch.lap()
                watch.add([change])
                watch.forget()
                quiet = bursts.is_quiet(watch.figures(change), job["burst_limits"])
                settling.settle()
                send({"event": "reply", "latency_ns": times, "quiet": quiet})
        during = watch.read()
    return {
        "conditions": during,
        "device_memory_bytes": device_memory,
    }
