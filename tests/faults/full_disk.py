"""A run on a disk that is too small: how it ends, and how it goes on once there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.interrupted import Place, faults_of_going_on, launches_of

PLACES = ("results", "store", "temporary")


def folder_of(place: Place, which: str) -> Path:
    """The folder of a place that is put on a disk of its own."""
    return place.work / "results" if which == "results" else Path(getattr(place, which))


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes at a folder. Raises CalledProcessError where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=755"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)


def enlarge(folder: Path, size: int) -> None:
    """Give a mounted tmpfs so many bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def faults_of_full_disk(place: Place, which: str, size: int, ample: int) -> tuple[str, list[str]]:
    """What a run says for which one of the places has so many bytes, and what is wrong with it.

    It has ``ample`` bytes afterwards, and is gone on with.
    """
    folder = folder_of(place, which)
    with tmpfs(folder, size):
        code, said = place.finish("run", "m.yaml")
        faults = _faults_of_end(code, said)
        runs = [run for run in place.runs() if (run / "run.json").is_file()]
        kept = launches_of(runs[-1]) if runs else []
        enlarge(folder, ample)
        told = next((line for line in said.splitlines() if "error:" in line), "there was room")
        if code == 0:
            return told, faults
        resumed = ("run", "--resume", str(runs[-1])) if runs else ("run", "m.yaml")
        if runs and "--resume" not in said:
            faults.append(f"no word of --resume: {said[-500:]}")
        return told, faults + faults_of_going_on(place, resumed, kept)


def _faults_of_end(code: int, said: str) -> list[str]:
    if code == 0:
        return []
    faults = []
    if code != 2 or said.count("deploymark: error: ") != 1:
        faults.append(f"exit {code}: {said[-1200:]}")
    if not any(word in said for word in ("disk", "room")):
        faults.append(f"no word of a disk: {said[-600:]}")
    if "Traceback" in said or "    def " in said or "not foreseen" in said:
        faults.append(f"our source is shown: {said[-1200:]}")
    return faults
