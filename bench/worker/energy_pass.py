"""The energy pass of a cell: a launch of its own, told by the parent how long it goes on.

Its inferences are those of the timed pass, but no latency is taken from it; and no meter is read
while a latency is taken.
"""

from __future__ import annotations

import dataclasses

from deploymark.bench.children.child import Message, Send, is_told, next_command, phase
from deploymark.bench.worker.measure import conditions, energy, latency
from deploymark.bench.worker.session import open_session


def energy_pass(job: Message, send: Send) -> Message:
    """Load, warm up, and then rest or infer as told; each stretch is answered when it is over.

    Commands: ``rest`` with ``seconds`` and ``guard_s``; ``work`` with ``window_s`` and ``guard_s``,
    which infers, a reply for each window, until the next command (``stop``) comes; ``end``.
    ``conditions`` are those of all stretches together.
    """
    opened = open_session(job, send)
    session, inputs = opened.session, opened.inputs
    with phase("crashed", "inference failed"):
        session.infer(inputs[0])
        send({"event": "progress", "phase": "warm-up"})
        watch = conditions.Watch(device=job["device"])
        warmed = latency.warm_up(session.infer, inputs, max_s=job["measure"]["warmup_max_s"])
        send({"event": "reply", "ready": True})
        while (command := next_command())["do"] != "end":
            watch.start()
            if command["do"] == "rest":
                send({"event": "reply", **energy.rest(command["seconds"], command["guard_s"])})
            elif command["do"] == "work":
                for window in energy.windows(
                    session.infer,
                    inputs,
                    window_s=command["window_s"],
                    guard_s=command["guard_s"],
                    stop=is_told,
                ):
                    send({"event": "reply", **window})
            watch.pause()
    return {"conditions": watch.read(), "warmup": dataclasses.asdict(warmed)}
