"""Where launches are made: on this machine, or on a device of a fleet (``bench.fleet``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from deploymark.bench.children.memory_limit import Way, enforcement
from deploymark.bench.children.spawn import WORKER, ChildEnd, run_child, thread_environment

OnMessage = Callable[[dict[str, Any]], None]


class Executor(Protocol):
    """Makes a worker do a job. The paths of a job are of this machine, wherever it is done."""

    @property
    def machine(self) -> str:
        """The name of the device in a fleet's run; empty where the run has one machine."""

    @property
    def memory_way(self) -> Way | None:
        """How limits of memory are enforced there (``bench.children.memory_limit``)."""

    def work(
        self,
        job: Mapping[str, Any],
        *,
        timeout_s: float,
        log: Path,
        python: str | None,
        threads: int,
        memory_limit_mb: int | None = None,
        on_message: OnMessage | None = None,
    ) -> ChildEnd:
        """A fresh worker that does one job; as ``bench.children.spawn.run_child``."""


class Here:
    """This machine."""

    machine = ""

    @property
    def memory_way(self) -> Way | None:
        """As this process enforces them."""
        return enforcement().way

    def work(
        self,
        job: Mapping[str, Any],
        *,
        timeout_s: float,
        log: Path,
        python: str | None,
        threads: int,
        memory_limit_mb: int | None = None,
        on_message: OnMessage | None = None,
    ) -> ChildEnd:
        """A child of this process."""
        return run_child(
            WORKER,
            job,
            timeout_s=timeout_s,
            log=log,
            python=python,
            env=thread_environment(threads),
            on_message=on_message,
            memory_limit_mb=memory_limit_mb,
        )


HERE = Here()


def file_stem(cell: str, executor: Executor) -> str:
    """The beginning of the names of a cell's files in the run directory: its log, its boxes."""
    return f"{cell}@{executor.machine}" if executor.machine else cell
