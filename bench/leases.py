"""Leases: what of the store running processes use, so that nobody clears it away.

A lease is a locked file with a list of names beside it. The system releases the lock when its
process ends, however it ends: a lease outlives nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from pathlib import Path

from filelock import FileLock, Timeout

_NAMES = ".names"


class Lease:
    """What one process uses of a store; made on first use, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stem = folder, f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock: FileLock | None = None
        self._names: set[str] = set()
        self._mutex = threading.Lock()

    def use(self, *names: str) -> None:
        """Keep what has those names (paths relative to the store) until the process ends."""
        with self._mutex, contextlib.suppress(OSError):  # without room: what is missing is remade
            fresh = [name for name in names if name not in self._names]
            if not fresh:
                return
            if self._lock is None:
                self._folder.mkdir(exist_ok=True)
                lock = FileLock(self._folder / f"{self._stem}.lock", thread_local=False)
                lock.acquire(timeout=0)
                self._lock = lock
            with (self._folder / f"{self._stem}{_NAMES}").open("a", encoding="utf-8") as stream:
                stream.writelines(f"{name}\n" for name in fresh)
            self._names.update(fresh)

    def others(self) -> set[str]:
        """The names that other living processes use; the leases of dead ones are removed."""
        used: set[str] = set()
        for path in self._folder.glob("*.lock"):
            if path.stem == self._stem:
                continue
            names = path.with_suffix(_NAMES)
            try:
                with FileLock(path).acquire(timeout=0):
                    for dead in (names, path):
                        with contextlib.suppress(OSError):
                            dead.unlink()
            except Timeout:
                with contextlib.suppress(OSError):
                    used.update(names.read_text(encoding="utf-8").splitlines())
            except OSError:  # somebody else's, who may be at work
                with contextlib.suppress(OSError):
                    used.update(names.read_text(encoding="utf-8").splitlines())
        return used
