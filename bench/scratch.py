"""Temporary folders that are known to be somebody's: what dead processes left can be removed.

Each is locked (flock(2)) by the process that made it as long as that lives; the kernel lets go
however it ends, and the lock holds between containers that share a folder, where the number of a
process says nothing. A folder without the name of such a one is never touched.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_LOCKS = importlib.util.find_spec("fcntl") is not None
"""Windows has none: nothing is swept there."""

if _LOCKS:
    import fcntl

CHILD_PREFIX = "deploymark-child"
"""Temporary folders of children; ``deploymark-child-<process>-<random>``."""

WORKER_PREFIX = "deploymark-worker"
"""Copies of the worker's source, for interpreters that Deploymark is not installed in."""

_SWEEP_S = 0.05
"""Seconds that a sweep takes to remove a folder that is empty, generously."""


def _locked(folder: Path) -> int | None:
    """The descriptor that holds the lock of a folder; None where another has it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == folder.stat().st_ino:
            return descriptor
    except OSError:  # held, removed meanwhile, or a file system without locks
        pass
    os.close(descriptor)
    return None


def _made(prefix: str, parent: Path | None) -> tuple[Path, int | None]:
    """A new folder and its lock. A sweep may come between the two: then it is made again."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}-{os.getpid()}-", dir=parent))
        descriptor = _locked(folder) if _LOCKS else None
        if descriptor is not None or not _LOCKS:
            return folder, descriptor
        time.sleep(_SWEEP_S)
        if folder.is_dir():  # no sweep has it: the file system has no locks
            return folder, None


@contextlib.contextmanager
def owned_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """An empty folder, removed at the end unless moved away.

    It lies below ``parent``, or where temporary files go.
    """
    folder, descriptor = _made(prefix, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(prefix: str, parent: Path | None = None) -> int:
    """Remove what processes that are gone left behind; how many folders. Others' are left alone."""
    if not _LOCKS:
        return 0
    swept = 0
    name = re.compile(rf"{re.escape(prefix)}-\d+-[^-]+")
    with contextlib.suppress(OSError):
        for folder in Path(parent or tempfile.gettempdir()).iterdir():
            if name.fullmatch(folder.name) is None or folder.is_symlink():
                continue
            if folder.stat().st_uid != os.getuid():
                continue
            descriptor = _locked(folder)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
                swept += 1
    return swept
