"""Opening an artifact, as every job that infers begins."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends import waiting
from deploymark.backends.base import Artifact, Backend, LoadOptions, Session, Setting
from deploymark.backends.layout import PLAIN_INPUT, InputSpec, OutputSpec
from deploymark.backends.registry import resolve
from deploymark.bench.children.child import Message, Send, phase
from deploymark.bench.worker.measure import memory

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TIMED_IMAGES = 8
"""Images that the timed inferences take in turn: a few, so that they add little to the memory."""


def _import_runtime(modules: list[str]) -> float:
    """Import the runtime; milliseconds."""
    import importlib

    started = time.perf_counter_ns()
    for module in modules:
        importlib.import_module(module)
    return (time.perf_counter_ns() - started) / 1e6


def input_spec(job: Message) -> InputSpec:
    """How the session of a job takes images."""
    return InputSpec.read(job["input"])


def output_spec(job: Message) -> OutputSpec:
    """How the outputs of a job's session read."""
    return OutputSpec.read(job["output"])


def batch_of(
    prepared: npt.NDArray[np.uint8], start: int, batch: int, spec: InputSpec = PLAIN_INPUT
) -> npt.NDArray[Any]:
    """``batch`` images from ``start`` on, going round at the end, as a session takes them."""
    from deploymark.bench.worker.letterbox import to_input

    count = len(prepared)
    chosen = [(start + offset) % count for offset in range(batch)]
    return to_input(prepared[chosen], spec)


def _timed_inputs(
    prepared: npt.NDArray[np.uint8], batch: int, spec: InputSpec, images: int
) -> list[npt.NDArray[Any]]:
    count = min(max(1, images // batch), len(prepared))
    return [batch_of(prepared, index * batch, batch, spec) for index in range(count)]


@dataclasses.dataclass
class Opened:
    """A loaded artifact and what it was measured to cost so far. Times in milliseconds.

    ``settings`` are the runtime options with every default explicit, ``giving_way`` those under
    which threads give way, ``rested`` those changed so that threads rest between inferences.
    ``inputs`` are the images that timed inferences take in turn,
    ``prepared`` all of them: uint8 (images, height, width, 3). ``load`` gives one more session of
    the same artifact.
    """

    session: Session
    settings: dict[str, Setting]
    giving_way: Mapping[str, Setting]
    inputs: list[npt.NDArray[Any]]
    prepared: npt.NDArray[np.uint8]
    import_ms: float
    load_ms: float
    rss_before: int | None
    load: Callable[[], Session]
    rested: Mapping[str, Setting] = dataclasses.field(default_factory=dict)

    def grown_bytes(self, rss: int | None) -> int | None:
        """How much memory the model took, where ``rss`` is the process's after it was loaded."""
        if rss is None or self.rss_before is None:
            return None
        return max(0, rss - self.rss_before)

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


def open_session(
    job: Message,
    send: Send,
    *,
    give_way: bool = False,
    rest: bool = False,
    images: int = TIMED_IMAGES,
    before_load: Callable[[], object] | None = None,
) -> Opened:
    """Import the runtime and load the artifact, as every job that infers begins.

    ``give_way`` changes the runtime options to those under which threads give way to others,
    ``rest`` to those under which they do so between inferences. ``images`` are held as inputs;
    ``before_load`` is called when all is ready for the artifact.
    """
    backend = resolve(job["spec"])
    batch = job["batch"]
    spec = input_spec(job)
    options = LoadOptions(
        device=job["device"],
        precision=job["precision"],
        threads=job["threads"],
        input_shape=(batch, 3, *spec.size),
        options=job["runtime_options"],
        spec=spec,
        output=output_spec(job),
    )
    for wanted, change in ((rest, backend.resting), (give_way, backend.giving_way)):
        if wanted:
            options = dataclasses.replace(options, options={**options.options, **change})
    chosen = _set_up(backend, options)
    import numpy as np

    prepared = np.load(job["images"], mmap_mode="r")
    inputs = _timed_inputs(prepared, batch, options.spec, images)
    with phase("load_failed", "importing the runtime failed"):
        import_ms = _import_runtime(list(backend.runtime_modules))
    rss_before = memory.rss_bytes()
    artifact = Artifact(folder=Path(job["artifact"]), entry=job["entry"])
    load = partial(backend.load, artifact, options)
    send({"event": "progress", "phase": "load"})
    if before_load is not None:
        before_load()
    with phase("load_failed", "loading failed"):
        started = time.perf_counter_ns()
        session = load()
        load_ms = (time.perf_counter_ns() - started) / 1e6
    return Opened(
        session,
        chosen,
        backend.giving_way,
        inputs,
        prepared,
        import_ms,
        load_ms,
        rss_before,
        load,
        backend.resting if rest else {},
    )
