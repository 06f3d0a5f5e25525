"""A small run with builds that is sent signals: what is left of it, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
scoring: {max_images: 8}
calibration: {images: 4}
measure:
  {launches: LAUNCHES, target_interval: null, warmup_max_s: 0.1, latency_s: 0.1,
   min_iterations: 5, max_iterations: 20, e2e_iterations: 1}
validity: {enabled: false}  # the machine of a test is as busy as it is
backends:
  - {name: onnxruntime, precisions: [fp32]}
"""

LEFTOVERS = ("deploymark-child-*", "deploymark-worker-*")


def _as_from_a_terminal() -> None:
    """Signals end a program again: what starts tests in the background may have them ignored.

    Deploymark leaves those ignored that it was started with so, as ``nohup`` asks.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclasses.dataclass
class Place:
    """A working folder with an artifact store and a folder of temporary files of its own."""

    root: Path
    launches: int = 3
    matrix: str = MATRIX

    def __post_init__(self) -> None:
        for folder in (self.work, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        text = self.matrix.replace("LAUNCHES", str(self.launches))
        (self.work / "m.yaml").write_text(text)

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def latest(self) -> Path:
        return self.work / "results" / "latest"

    def start(
        self, *arguments: str, output: IO[str] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """``deploymark`` with those arguments, its output in a pipe or that file."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploymark", *arguments],
            cwd=self.work,
            env={
                **os.environ,
                "DEPLOYMARK_CACHE": str(self.store),
                "TMPDIR": str(self.temporary),
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_as_from_a_terminal,  # noqa: PLW1509 - no threads here
        )

    def finish(self, *arguments: str, timeout_s: float = 300) -> tuple[int, str]:
        """Exit code and output of ``deploymark`` with those arguments."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=timeout_s)
        return process.returncode, said

    def runs(self) -> list[Path]:
        """The run directories, the newest last."""
        found = (self.work / "results").glob("2*")
        return sorted(path for path in found if not path.is_symlink())

    def leftovers(self) -> list[Path]:
        """Temporary folders of ours that are still there."""
        found = [path for name in LEFTOVERS for path in self.temporary.glob(name)]
        return found + list((self.store / "tmp").glob("*"))

    def processes(self) -> list[int]:
        """Processes whose environment names the store: this run's, and children of it."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    environment = (folder / "environ").read_bytes()
                except OSError:
                    continue
                if f"DEPLOYMARK_CACHE={self.store}\0".encode() in environment:
                    found.append(int(folder.name))
        return found

    def processes_gone(self, within_s: float = 10.0) -> bool:
        """Whether none is left; the kernel gets a while to end killed ones."""
        return wait_until(lambda: not self.processes(), within_s)


def launches_of(run: Path) -> list[dict[str, Any]]:
    """The lines of ``launches.jsonl`` that are whole."""
    file = run / "launches.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_until(condition: Callable[[], bool], within_s: float = 120.0) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def faults_after(
    place: Place, after_s: float, signals: Sequence[signal.Signals], apart_s: float = 0.05
) -> list[str]:
    """What is wrong with a run that gets signals after so many seconds; and how it then goes on.

    Empty where ``--resume`` (or the same command, where nothing was kept) ends with exactly the
    planned launches, nothing is left over, and ``latest`` was a run to be reported all the time.
    """
    before = set(place.runs())
    code, said = _interrupted(place, after_s, signals, apart_s)
    faults = _faults_of_end(place, signals[0], code, said)
    left = [run for run in place.runs() if run not in before]
    kept = launches_of(left[-1]) if left else []
    hint = f"--resume results/{left[-1].name}" if left else "give the same command again"
    hints = (hint, "deploymark report")
    if code == 128 + signals[0] and not any(words in said for words in hints):
        faults.append(f"no true hint ({hint}): {said[-300:]}")
    resumable = bool(left) and (left[-1] / "run.json").is_file()
    arguments = ("run", "--resume", str(left[-1])) if resumable else ("run", "m.yaml")
    return faults + faults_of_going_on(place, arguments, kept)


def faults_of_going_on(
    place: Place, arguments: Sequence[str], kept: Sequence[dict[str, Any]]
) -> list[str]:
    """What is wrong with how a run goes on by a command, of which those launches were kept."""
    faults = []
    code, said = place.finish(*arguments)
    if code != 0:
        faults.append(f"going on: exit {code}: {said[-800:]}")
    after = launches_of(place.latest.resolve()) if place.latest.exists() else []
    if after[: len(kept)] != kept:
        faults.append("a finished launch was lost")
    if sorted(record["launch"] for record in after) != list(range(place.launches)):
        faults.append(f"launches {[record['launch'] for record in after]}")
    if place.leftovers():
        faults.append(f"left over: {place.leftovers()}")
    return faults


def _interrupted(
    place: Place, after_s: float, signals: Sequence[signal.Signals], apart_s: float
) -> tuple[int, str]:
    """Exit code and output of a run that gets those signals, unless it ends before."""
    process = place.start("run", "m.yaml")
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        for number in signals:
            process.send_signal(number)
            time.sleep(apart_s)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def _faults_of_end(place: Place, number: signal.Signals, code: int, said: str) -> list[str]:
    """What is wrong with how a run ended that got a signal."""
    faults = []
    if code not in {0, -number, 128 + number}:
        faults.append(f"exit {code}: {said[-800:]}")
    if "Traceback" in said and number is not signal.SIGKILL:
        faults.append(f"traceback: {said[-800:]}")
    if not place.processes_gone():
        faults.append(f"processes left: {place.processes()}")
    if place.latest.is_symlink() and not (place.latest / "cells.json").is_file():
        faults.append("latest is no run to be reported")
    return faults
