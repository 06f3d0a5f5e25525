"""The agent: a process of a device that starts a measured worker as a local run does.

It runs from source that was sent (``SOURCE``), with the standard library and psutil, which Dask
brings. It is a child of the Dask worker (``bench.fleet.device``) as a worker is of a run: its job
comes on standard input, and it ends when that closes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from deploymark.bench.children.child import Message, Send, serve
from deploymark.bench.children.memory_limit import enforcement
from deploymark.bench.children.spawn import WORKER, run_child, thread_environment
from deploymark.bench.machine.fingerprint import default_threads, fingerprint
from deploymark.bench.scratch import CHILD_PREFIX, sweep

SOURCE = (
    "bench/__init__.py",
    "bench/children/*.py",
    "bench/errors.py",
    "bench/fleet/__init__.py",
    "bench/fleet/agent.py",
    "bench/machine/__init__.py",
    "bench/machine/fingerprint.py",
    "bench/records/__init__.py",
    "bench/records/outcomes.py",
    "bench/room.py",
    "bench/scratch.py",
    "bench/worker/**/*.py",
    "backends/**/*.py",
)
"""What the agent and its workers are, as source."""


def about(job: Message) -> Message:
    """What a plan and a record say of this machine."""
    memory = enforcement()
    return {
        "machine": fingerprint(),
        "threads": default_threads(),
        "memory_way": memory.way,
        "memory_reason": memory.reason,
        "packages": _versions(job["packages"]),
    }


def _versions(packages: list[str]) -> dict[str, str]:
    from importlib import metadata

    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def work_on(job: Message) -> Message:
    """One worker, as a run has it (``bench.run.executor.Here``); how it ended."""
    end = run_child(
        WORKER,
        job["job"],
        timeout_s=job["timeout_s"],
        log=Path(job["log"]),
        python=job["python"],
        env=thread_environment(job["threads"]) if job["threads"] else None,
        memory_limit_mb=job["limit_mb"],
    )
    return {
        "outcome": dataclasses.asdict(end.outcome),
        "result": end.result,
        "duration_s": end.duration_s,
    }


def work(job: Message, send: Send) -> Message:
    """Do what the job asks."""
    del send
    sweep(CHILD_PREFIX)
    answer: Any = about(job) if job["kind"] == "about" else work_on(job)
    return dict(answer)


if __name__ == "__main__":
    serve(work)
