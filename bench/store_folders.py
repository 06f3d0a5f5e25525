"""The folders of a store, and where new things go while it cannot be written."""

from __future__ import annotations

import atexit
import errno
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import platformdirs

from deploymark.bench.records.files import printable

_FOLDERS = (
    "artifacts",
    "variants",
    "datasets",
    "inspections",
    "images",
    "tmp",
    "locks",
    "leases",
    "bundles",
)


def make_folders(root: Path) -> None:
    """Make the folders of a store. Raises OSError where it cannot be written."""
    for name in _FOLDERS:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code))


@functools.cache
def store_beside(root: Path) -> Path:
    """Where new things go while ``root`` cannot be written; told once a process."""
    own = Path(platformdirs.user_cache_dir("deploymark")) / "beside"
    try:
        make_folders(own)
    except OSError:
        own = Path(tempfile.mkdtemp(prefix="deploymark-store-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        make_folders(own)
    say_note(f"{root} cannot be written: what it has is used, new things go to {own}")
    return own


def say_note(text: str) -> None:
    """One line for the user about the store."""
    sys.stderr.write(f"deploymark: note: {printable(text)}\n")
