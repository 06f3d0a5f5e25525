"""Room on disks: whether something will fit, and what to say where a folder takes no more."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploymark.bench.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
}

_FULL_BYTES = 1 << 16
"""A disk with less is called full."""

_LEFT_FREE_BYTES = 1 << 20
"""What is left free beside what is known to be needed: folders, logs and manifests."""


def storage_error(path: Path, error: OSError) -> StorageError | None:
    """What a failed write means for the user; None where the disk is not to blame."""
    why = _WHY.get(error.errno or 0)
    if why is None:
        return None
    folder = path if path.is_dir() else path.parent
    remedy = (
        f"Make room on the disk of {folder}."
        if error.errno in _FULL
        else "Name a folder that can be written, or mend the permissions of this one."
    )
    return StorageError(f"{path}: cannot be written: {why}", remedy=remedy)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise StorageError where what is inside cannot write at ``path``; other errors pass."""
    try:
        yield
    except OSError as error:
        if (told := storage_error(path, error)) is None:
            raise
        raise told from error


def blame_full_disk(reason: str, folders: Sequence[str | Path | None]) -> None:
    """Raise StorageError where a child ended as one of its disks is full, by its words or now.

    A process that maps a file of a full disk gets a signal, and no word.
    """
    full = [folder for folder in map(str, filter(None, folders)) if _is_full(folder)]
    if full or any(os.strerror(code) in reason for code in _FULL):
        where = " and ".join(dict.fromkeys(full)) or "the temporary folder, the cache or the run"
        raise StorageError(
            f"a child process could not write, the disk of {where} is full: {reason}",
            remedy=f"Make room on the disk of {where}.",
        )


def _is_full(folder: str) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BYTES
    except OSError:
        return False


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise StorageError where ``what`` will not fit into the disk of ``folder``."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # nothing can be told
        return
    if free < needed_bytes + _LEFT_FREE_BYTES:
        raise StorageError(
            f"{folder}: no room for {what}: about {needed_bytes / 1e6:.1f} MB are needed,"
            f" {free / 1e6:.1f} MB are free",
            remedy=f"Make room on the disk of {folder}.",
        )
