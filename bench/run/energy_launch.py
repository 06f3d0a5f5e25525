"""One energy launch: a worker that rests and infers as told, and beside it a recorder of meters.

The method is that of a laboratory: the model is loaded and warm; idle, windows of steady
inferences until the interval over them is narrow enough or the budget is spent, idle again. Both
idles must agree, and what they mean is subtracted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.children.spawn import (
    WORKER,
    Child,
    outcome_of_failure,
    started,
    thread_environment,
)
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.matrix.energy_settings import EnergySettings
from deploymark.bench.matrix.validity import Validity
from deploymark.bench.meters.analysis import Phases, Window
from deploymark.bench.meters.base import MeterDiedError
from deploymark.bench.meters.recording import Recording, recorded
from deploymark.bench.meters.trace import Trace, update_period_s
from deploymark.bench.meters.windows import Curve, NotCoveredError, guard_s, least_window_s
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.run.energy_figures import measured, modelled, refused
from deploymark.bench.run.launch import now, session_job
from deploymark.bench.score.energy import duty_cycle
from deploymark.bench.statistics.intervals import mean_interval
from deploymark.bench.store import StoredArtifact

LEAST_WINDOWS = 2
"""Windows of a launch, where the budget has room for them: the fewest that have an interval."""

PERIOD_UNSEEN_S = 0.1
"""What a sensor's period is taken to be that did not move while nothing ran; it is found anew of
all readings at the end."""

_MARGIN = 1.05
"""How much longer a window is than 20 of the periods found so far: the end may find them longer."""

_SLOW_INFERENCES = 3.0
"""Windows that a worker may take for one before it is given up, beyond the cell's own limit."""


@dataclasses.dataclass(frozen=True)
class EnergyTask:
    """One energy launch. ``meters`` are the names of those that make its figure.

    Without any the figure is modelled (``EnergySettings.model``). ``images`` is as in
    ``bench.run.launch.LaunchTask``; ``roots`` as in ``bench.meters.finding``.
    """

    cell: Cell
    launch: int
    threads: int
    artifact: StoredArtifact
    images: Path
    settings: EnergySettings
    validity: Validity
    meters: Sequence[str]
    roots: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _FailedError(Exception):
    """The worker ended the launch; never leaves this module."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class _Worker:
    """The worker of an energy launch, asked one thing at a time."""

    def __init__(self, child: Child, limit_s: float) -> None:
        self._child = child
        self._limit_s = limit_s

    def ask(self, command: Mapping[str, Any]) -> None:
        """Tell it what to do."""
        self._child.send(command)

    def answer(self, event: str, work_s: float = 0.0) -> dict[str, Any]:
        """Its next message of a kind, in ``work_s`` and the cell's limit. Raises _FailedError."""
        limit_s = self._limit_s + work_s
        deadline = time.monotonic() + limit_s
        while True:
            try:
                message = self._child.receive(deadline)
            except TimeoutError:
                raise _FailedError(self._child.outcome_of_timeout(limit_s)) from None
            if message is None:
                raise _FailedError(self._child.outcome_of_end())
            if message.get("event") == "failed":
                raise _FailedError(outcome_of_failure(message))
            if message.get("event") == event:
                return message

    def rest(self, seconds: float, guard: float) -> tuple[float, float]:
        """Have it rest; from when until when, seconds of the monotonic clock."""
        self.ask({"do": "rest", "seconds": seconds, "guard_s": guard})
        answer = self.answer("reply", seconds + 2 * guard)
        return answer["start_ns"] / 1e9, answer["end_ns"] / 1e9


def energy_launch(task: EnergyTask, log: Path) -> dict[str, Any]:
    """Measure once: the record is one line of ``energy.jsonl``, whatever the worker does.

    Raises BadInputError if an interpreter is none.
    """
    begun, begun_s = now(), time.monotonic()
    cell = task.cell
    outcome, figures = Outcome("ok"), {}
    meter = task.settings.meter
    with contextlib.ExitStack() as stack:
        try:
            recording = None
            if task.meters:
                external = None if meter is None else meter.model_dump()
                recording = stack.enter_context(
                    recorded(external, log.with_suffix(".meters.log"), roots=task.roots)
                )
            child = stack.enter_context(
                started(
                    WORKER,
                    session_job("energy", cell, task.threads, task.artifact, task.images),
                    log=log,
                    python=cell.python,
                    env=thread_environment(task.threads),
                )
            )
            worker = _Worker(child, cell.limits.launch_timeout_s)
            worker.answer("reply")
            figures = _model(task, worker) if recording is None else _meter(task, worker, recording)
        except _FailedError as failure:
            outcome = failure.outcome
        except MeterDiedError as error:
            figures = refused(error.message)
    return {
        "cell": cell.id,
        "launch": task.launch,
        **dataclasses.asdict(outcome),
        "started": begun,
        "duration_s": round(time.monotonic() - begun_s, 3),
        **figures,
        **(duty_cycle(figures, task.settings) if figures else {}),
    }


def _own(task: EnergyTask, traces: Sequence[Trace]) -> list[Trace]:
    """The traces of the meters that make the figure."""
    return [trace for trace in traces if trace.facts.name in task.meters]


def _meter(task: EnergyTask, worker: _Worker, recording: Recording) -> dict[str, Any]:
    """The pass with meters, and its figures."""
    settings, batch = task.settings, task.cell.batch
    names = [facts.name for facts in recording.facts]
    if not set(task.meters) <= set(names):
        gone = ", ".join(sorted(set(task.meters) - set(names)))
        why = "; ".join(f"{item.what}: {item.reason}" for item in recording.missing)
        return refused(f"the meter {gone} is not there any more ({why})")
    recording.periods_s()
    own = _own(task, recording.traces())
    for trace in own:
        if trace.failure is not None:
            return refused(f"{trace.facts.source} stopped at once: {trace.failure[1]}")
    slowest = max(own, key=lambda trace: update_period_s(trace) or PERIOD_UNSEEN_S)
    period_s = update_period_s(slowest) or PERIOD_UNSEEN_S
    needed_s = _MARGIN * least_window_s(period_s)
    if needed_s > settings.budget_s:
        return refused(
            f"{slowest.facts.source} updates every {period_s:.3g} s: a window takes {needed_s:.0f} "
            f"s, and energy.budget_s is {settings.budget_s:g}"
        )
    guard = guard_s(period_s)
    idle_s = max(settings.idle_s, needed_s)
    window_s = max(settings.window_s, needed_s)
    before = worker.rest(idle_s, guard)
    began_s = time.monotonic()
    worker.ask({"do": "work", "window_s": window_s, "guard_s": guard})
    windows: list[Window] = []
    while not windows or not _is_enough(task, windows, before, recording):
        answer = worker.answer("reply", _SLOW_INFERENCES * window_s + guard)
        span = answer["start_ns"] / 1e9, answer["end_ns"] / 1e9
        windows.append(Window(span, answer["inferences"] * batch))
    worker.ask({"do": "stop"})
    after = worker.rest(idle_s, guard)
    worker.ask({"do": "end"})
    end = worker.answer("result")
    phases = Phases(before, began_s, windows, after)
    traces = recording.traces()
    return {
        **measured(traces, task.meters, phases, end["conditions"], task.validity),
        "conditions": end["conditions"],
        "warmup": end["warmup"],
    }


def _is_enough(
    task: EnergyTask, windows: Sequence[Window], idle: tuple[float, float], recording: Recording
) -> bool:
    """Whether there are enough windows: the interval is narrow, or the budget is spent."""
    if sum(window.seconds for window in windows) >= task.settings.budget_s:
        return True
    if len(windows) < LEAST_WINDOWS:
        return False
    target = task.settings.target_interval
    own = _own(task, recording.traces())
    if target is None or any(trace.failure is not None for trace in own):
        return True
    width = _half_width(own, windows, idle)
    return width is not None and width <= target


def _half_width(
    traces: Sequence[Trace], windows: Sequence[Window], idle: tuple[float, float]
) -> float | None:
    """Half-width of the interval over windows so far, relative; None where it cannot be told yet.

    Above the idle power before: that after is not known yet, and moves all windows alike.
    """
    each = [0.0] * len(windows)
    try:
        for trace in traces:
            period_s = update_period_s(trace)
            if period_s is None:
                return None
            curve = Curve.of(trace, period_s)
            idle_w = curve.watts(idle)
            for index, window in enumerate(windows):
                net_j = curve.joules(window.span) - idle_w * window.seconds
                each[index] += net_j / window.images
    except NotCoveredError:  # the sensor has not been updated since the last one ended
        return None
    mean = math.fsum(each) / len(each)
    interval = mean_interval(each, mean)
    if interval is None or mean <= 0:
        return None
    return (interval[1] - interval[0]) / (2 * mean)


def _model(task: EnergyTask, worker: _Worker) -> dict[str, Any]:
    """The pass without a meter: one window, and what the matrix's model makes of it."""
    settings = task.settings
    worker.ask({"do": "work", "window_s": settings.window_s, "guard_s": 0.0})
    answer = worker.answer("reply", _SLOW_INFERENCES * settings.window_s)
    worker.ask({"do": "stop"})
    worker.ask({"do": "end"})
    end = worker.answer("result", settings.window_s)
    window = Window(
        (answer["start_ns"] / 1e9, answer["end_ns"] / 1e9), answer["inferences"] * task.cell.batch
    )
    cpus = end["conditions"]["usable_cpus"]
    assert settings.model is not None  # noqa: S101 - for the type checker: it was asked for
    return {
        **modelled(settings.model, window, answer["cpu_ns"] / 1e9, cpus),
        "conditions": end["conditions"],
        "warmup": end["warmup"],
    }
